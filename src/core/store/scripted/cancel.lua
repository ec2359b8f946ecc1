-- cancel: forget a task that no worker has.
-- Guarantee: returns 1 only if the task will not run; one that a worker has, or a dead one, is left alone.
-- KEYS[1] prefix
-- ARGV    now, id
-- Returns 1 or 0
local refusal = refused(true)
if refusal then return refusal end
if is_lazy() then allow_when_full() end

local id = ARGV[2]
local record = load(id)
if not record or (record.state ~= State.SCHEDULED and record.state ~= State.UNCLAIMED) then return 0 end
if record.state == State.UNCLAIMED then leave_aside(id, record) elseif not timer_remove(record.queue, id, record.due) then revoke(id) end
erase(id)
redis.call('HDEL', key_again(), id) -- a retry may have one
count('cancelled', record.queue, 1)
note('cancelled', id, since_scheduled(record))
return 1
