-- revive: schedule dead letters again, due now, with a clean count of retries and losses.
-- Guarantee: only dead letters are touched, each once.
-- KEYS[1] prefix
-- ARGV    now, ids ...
-- Returns how many were scheduled
local refusal = refused()
if refusal then return refusal end

local revived = 0
for at = 2, #ARGV do
  local id = ARGV[at]
  local record = load(id)
  if record and record.state == 'D' then
    redis.call('ZREM', key_dead(record.queue), id)
    redis.call('HDEL', key_reasons(), id)
    record.state, record.due, record.cause, record.since, record.token = 'S', now, 'r', '', ''
    record.retries, record.losses = 0, 0
    save(id, record)
    if timer_add(record.queue, id, now) then ring_dispatcher() end
    note('revived', id, '{"due_us":' .. whole(now) .. '}')
    revived = revived + 1
  end
end
return revived
