-- The timer index of the `lua` strategy: a zset per queue, id -> due_at in microseconds.

-- Index a task; true if nothing of this queue is due before it.
local function timer_add(queue, id, due, written, behind)
  local key = key_timer(queue)
  redis.call('ZADD', key, written or whole(due), id)
  return not behind and redis.call('ZRANGE', key, 0, 0)[1] == id
end

-- Take a task out of the index; true if it was there.
local function timer_remove(queue, id, due) return redis.call('ZREM', key_timer(queue), id) == 1 end

-- Told of tasks that were moved to READY.
local function timer_moved(queue, ids) return {} end
