-- The index of the `keyspace` strategy: a zset per queue, id -> due_at in microseconds, which is the truth; and for
-- each task an alarm: a key that expires when the task is due, and whose event wakes the dispatchers.

local function alarm(queue, id) return key_alarm(queue .. ':' .. id) end

-- Do `what` (EXISTS or DEL) to an alarm; true if only this made Redis notice that the alarm had expired, so that its
-- event is on its way. The reply is the same for a key that did not exist. The number of keys tells them apart: it
-- counts an expired key until Redis notices it.
local function notices(what, queue, id)
  local before = redis.call('DBSIZE')
  return redis.call(what, alarm(queue, id)) == 0 and redis.call('DBSIZE') < before
end

-- Index a task; true if no task of this queue is due before it.
local function timer_add(queue, id, due, written, behind)
  written = written or whole(due)
  redis.call('ZADD', key_timer(queue), written, id)
  -- a key expires in the millisecond after the one given: never before its task is due
  local expires = math.floor(due / 1000)
  if expires > math.floor(now / 1000) then
    redis.call('SET', alarm(queue, id), '')
    redis.call('PEXPIREAT', alarm(queue, id), whole(expires))
  else
    redis.call('DEL', alarm(queue, id)) -- for a past time some servers send the event at once, some never
  end
  return not behind and leads(queue, id, written)
end

-- Take a task out of the index; true if it was there.
local function timer_remove(queue, id, due)
  redis.call('DEL', alarm(queue, id))
  local removed = redis.call('ZREM', key_timer(queue), id) == 1
  if removed then note_head(queue, due) end
  return removed
end

-- Called with the tasks that were moved to READY; returns those whose events this made Redis send.
local function timer_moved(queue, ids)
  local echoes = {}
  for _, id in ipairs(ids) do
    if notices('DEL', queue, id) then echoes[#echoes + 1] = queue .. ':' .. id end
  end
  return echoes
end
