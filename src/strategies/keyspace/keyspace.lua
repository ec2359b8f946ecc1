-- The index of the `keyspace` strategy: a zset per queue, id -> due_at in microseconds, which is the truth; and for each
-- task a key that expires when the task is due, which is its doorbell.

local function alarm(queue, id) return key_alarm(queue .. ':' .. id) end

-- Index a task; true if nothing of this queue is due before it.
local function timer_add(queue, id, due)
  local key = key_timer(queue)
  redis.call('ZADD', key, string.format('%.0f', due), id)
  -- a time to live ends in the millisecond after the one given here: never before the task is due
  redis.call('SET', alarm(queue, id), '')
  redis.call('PEXPIREAT', alarm(queue, id), string.format('%.0f', math.floor(due / 1000)))
  return redis.call('ZRANGE', key, 0, 0)[1] == id
end

-- Take a task out of the index; true if it was there.
local function timer_remove(queue, id, due)
  redis.call('DEL', alarm(queue, id))
  return redis.call('ZREM', key_timer(queue), id) == 1
end

-- Told of tasks that were moved to READY.
local function timer_moved(queue, ids)
  for _, id in ipairs(ids) do redis.call('DEL', alarm(queue, id)) end
end
