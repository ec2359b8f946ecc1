-- revive: schedule dead letters again, due now, with no retries and losses so far.
-- Guarantee: only dead letters are touched, each once.
-- KEYS[1] prefix
-- ARGV    now, ids ...
-- Returns {how many were scheduled, how many of the ids were looked at: the others are for the next step}
local refusal = refused()
if refusal then return refusal end

local revived, bytes, looked = 0, 0, 0
for at = 2, math.min(#ARGV, bounds.SCRIPT_TASKS + 1) do
  if bytes >= bounds.SCRIPT_BYTES then break end
  local id = ARGV[at]
  looked = looked + 1
  local record = load(id)
  if record and record.state == State.DEAD then
    redis.call('ZREM', key_dead(record.queue), id)
    redis.call('HDEL', key_reasons(), id)
    record.state, record.due, record.cause, record.since, record.token = State.SCHEDULED, now, 'r', '', ''
    record.retries, record.losses = 0, 0
    save(id, record)
    if timer_add(record.queue, id, now) then wake_dispatcher() end
    note('revived', id, '{"due_us":' .. whole(now) .. '}')
    revived, bytes = revived + 1, bytes + #record.body
  end
end
return { revived, looked }
