-- poke: read the alarms of due tasks. Redis expires a key when it gets to it, which may be minutes late. A key that is
-- read expires at once, and sends the event that the dispatchers wait for.
-- KEYS[1] prefix
-- ARGV    now, limit
-- Returns how many events this caused (0: no task is due, or the alarms of due tasks were gone)
local left, events = tonumber(ARGV[2]), 0
for _, queue in ipairs(redis.call('ZRANGEBYSCORE', key_heads(), '-inf', whole(now), 'LIMIT', 0, left)) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key_timer(queue), '-inf', whole(now), 'LIMIT', 0, left)) do
    if notices('EXISTS', queue, id) then events = events + 1 end
    left = left - 1
  end
  if left <= 0 then break end
end
return events
