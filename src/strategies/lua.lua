-- The timer index of the `lua` strategy: a zset per queue, id -> due_at in microseconds.

-- Index a task; true if no task of this queue is due before it.
local function timer_add(queue, id, due, written, behind)
  written = written or whole(due)
  redis.call('ZADD', key_timer(queue), written, id)
  return not behind and leads(queue, id, written)
end

-- Take a task out of the index; true if it was there.
local function timer_remove(queue, id, due)
  local removed = redis.call('ZREM', key_timer(queue), id) == 1
  if removed then note_head(queue, due) end
  return removed
end

-- Called with the tasks that were moved to READY.
local function timer_moved(queue, ids) return {} end
