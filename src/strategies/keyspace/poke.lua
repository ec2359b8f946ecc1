-- poke: look at the alarms of tasks that are due. Redis expires a key when it gets to it, which may be minutes late; but
-- one that is looked at expires at once, and that is the event which the dispatchers wait for.
-- KEYS[1] prefix
-- ARGV    now, limit
-- Returns how many tasks are due
local left, due = tonumber(ARGV[2]), 0
for _, queue in ipairs(redis.call('SMEMBERS', key_queues())) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key_timer(queue), '-inf', whole(now), 'LIMIT', 0, left)) do
    redis.call('EXISTS', alarm(queue, id))
    left, due = left - 1, due + 1
  end
  if left <= 0 then break end
end
return due
