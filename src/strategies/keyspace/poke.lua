-- poke: look at the alarms of tasks that are due. Redis expires a key when it gets to it, which may be minutes late; but
-- one that is looked at expires at once, and that is the event which the dispatchers wait for.
-- KEYS[1] prefix
-- ARGV    now, limit
-- Returns how many events that made (0: nothing is due, or the alarms of what is due were gone)
local left, events = tonumber(ARGV[2]), 0
for _, queue in ipairs(redis.call('ZRANGEBYSCORE', key_heads(), '-inf', whole(now), 'LIMIT', 0, left)) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key_timer(queue), '-inf', whole(now), 'LIMIT', 0, left)) do
    if notices('EXISTS', queue, id) then events = events + 1 end
    left = left - 1
  end
  if left <= 0 then break end
end
return events
