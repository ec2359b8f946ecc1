-- mend_again: a call that was kept for after a run whose task is gone becomes the task. For the auditor.
-- Guarantee: nothing changes if there is a record, which it still has to wait for.
-- KEYS[1] prefix
-- ARGV    now, id
-- Returns 1 or 0
local refusal = refused(true)
if refusal then return refusal end

local id = ARGV[2]
local again = redis.call('HGET', key_again(), id)
if not again or redis.call('HEXISTS', key_record(id), id) == 1 then return 0 end
follow(id, again, '', true)
return redis.call('HEXISTS', key_record(id), id) -- 0 if the call could not be read
