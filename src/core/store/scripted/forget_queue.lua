-- forget_queue: take a queue that has no task in any state off the list of queues.
-- Guarantee: nothing changes if more tasks have been scheduled in it than the caller knows of, or if some entry of it is
--   left (the caller has made sure that it has no lease).
-- KEYS[1] prefix
-- ARGV    now, queue, how many tasks had been scheduled in it before the caller found that it has none
-- Returns 1 or 0
local refusal = refused(true)
if refusal then return refusal end

local queue = ARGV[2]
local scheduled = redis.call('HGET', key_stats(), 'scheduled:' .. queue) or '0'
if tonumber(scheduled) ~= tonumber(ARGV[3]) then return 0 end
for _, key in ipairs({ key_ready(queue), key_dead(queue), key_timer(queue), key_seconds(queue) }) do
  if redis.call('EXISTS', key) == 1 then return 0 end
end
redis.call('DEL', key_wakeup(queue))
redis.call('ZREM', key_busy(), queue)
redis.call('ZREM', key_heads(), queue)
return redis.call('SREM', key_queues(), queue)
