-- The timer index of `watch` and `tmpset`: a zset per queue, id -> due_at in microseconds.

-- Index a task; true if no task of this queue is due before it.
local function timer_add(queue, id, due, written, behind)
  redis.call('ZADD', key_timer(queue), written or whole(due), id)
  return not behind and redis.call('ZRANGE', key_timer(queue), 0, 0)[1] == id
end

-- Take a task out of the zset; true if it was there.
local function zset_remove(queue, id) return redis.call('ZREM', key_timer(queue), id) == 1 end
