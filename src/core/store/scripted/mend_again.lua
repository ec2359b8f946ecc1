-- mend_again: schedule the next run that a task asked for, where the task itself is gone. For the auditor.
-- Guarantee: nothing changes if the task has a record: the next run still has to wait for it.
-- KEYS[1] prefix
-- ARGV    now, id
-- Returns 1 or 0
local refusal = refused(true)
if refusal then return refusal end

local id = ARGV[2]
local again = redis.call('HGET', key_again(), id)
if not again or redis.call('HEXISTS', key_record(id), id) == 1 then return 0 end
follow(id, again, '', true)
return redis.call('HEXISTS', key_record(id), id) -- 0 if the next run could not be read
