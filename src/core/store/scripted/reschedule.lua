-- reschedule: give a task that no worker has another due time.
-- Guarantee: returns {1, due} only if the task will not run at its old time; one that a worker has, or a dead one, is left alone.
-- KEYS[1] prefix
-- ARGV    now, id, due ('+n' counts from now, in microseconds)
-- Returns {1, due} or {0}
local refusal = refused(true)
if refusal then return refusal end

local id, due = ARGV[2], ARGV[3]
local record = load(id)
if not record or (record.state ~= State.SCHEDULED and record.state ~= State.UNCLAIMED) then return { 0 } end
if record.state == State.UNCLAIMED then leave_aside(id, record) elseif not timer_remove(record.queue, id, record.due) then revoke(id) end
record.state = State.SCHEDULED
record.due = due_at(due)
record.token = ''
save(id, record)
if timer_add(record.queue, id, record.due) then wake_dispatcher() end
note('rescheduled', id, '{"due_us":' .. whole(record.due) .. '}')
return { 1, whole(record.due) }
