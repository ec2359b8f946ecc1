-- mend: put a task into the place that its record says, since it was not found there.
-- Guarantee: nothing changes if the record has changed, or if a scheduled task is in the index after all.
-- KEYS[1] prefix
-- ARGV    now, id, the record as it was read; for a lazy index: the guard before the index was looked through, and '1' if
--         the task was found there
-- Returns 1 or 0; -1 if the index has changed since
local refusal = refused(true)
if refusal then return refusal end

local id = ARGV[2]
if redis.call('HGET', key_record(id), id) ~= ARGV[3] then return 0 end
local record = load(id)
if record.state == State.SCHEDULED and is_lazy() then
  if (redis.call('GET', key_guard()) or '') ~= ARGV[4] then return -1 end
  if ARGV[5] == '1' and not timer_show(record.queue, record.due) then return 0 end
  if ARGV[5] == '1' or timer_add(record.queue, id, record.due) then wake_dispatcher() end
  touch_guard() -- another auditor may be about to do the same
elseif record.state == State.SCHEDULED then
  local indexed = timer_remove(record.queue, id, record.due)
  if timer_add(record.queue, id, record.due) then wake_dispatcher() end
  if indexed then return 0 end
elseif record.state == State.HELD or record.state == State.LEASED then
  lose(id, record, 'e', whole(now), 0)
elseif record.state == State.UNCLAIMED then
  put_aside({ [record.queue .. ':' .. called(record)] = { whole(now), id } })
elseif record.state == State.DEAD then
  redis.call('ZADD', key_dead(record.queue), whole(now), id)
else
  return 0 -- it cannot be read
end
return 1
