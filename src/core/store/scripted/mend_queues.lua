-- mend_queues: repair what is kept of queues beside their tasks: whether they are busy, and leases in the older layout.
-- Guarantee: at most bounds.MOST_TASKS leases are moved a call; a lease that was taken since is left as it is.
-- KEYS[1] prefix
-- ARGV    now, queues ...
-- Returns {1 if leases of the older layout are left, else 0, then the queues that had work and were not marked busy}
local reply, room = { 0 }, bounds.MOST_TASKS
for at = 2, #ARGV do
  local queue = ARGV[at]
  if redis.call('EXISTS', key_ready(queue)) == 0 then
    pass_baton(queue, 0, true)
  elseif not redis.call('ZSCORE', key_busy(), queue) then
    wake_workers(queue, 1)
    reply[#reply + 1] = queue
  end
  local before = room > 0 and redis.call('ZRANGE', key_leased_before(queue), 0, room - 1, 'WITHSCORES') or {}
  for entry = 1, #before, 2 do
    local lease = queue .. ':' .. before[entry]
    if not redis.call('ZSCORE', key_leased(), lease) then redis.call('ZADD', key_leased(), before[entry + 1], lease) end
    redis.call('ZREM', key_leased_before(queue), before[entry])
    room = room - 1
  end
  if room <= 0 then reply[1] = 1 end
end
return reply
