-- The index of the `keyspace` strategy: a zset per queue, id -> due_at in microseconds, which is the truth; and for each
-- task a key that expires when the task is due, whose event wakes a dispatcher.

local function alarm(queue, id) return key_alarm(queue .. ':' .. id) end

-- Do `what` (EXISTS or DEL) to an alarm; true if Redis noticed only by this that it had expired, so that its event is on
-- its way. Replies do not tell that from a key which was not there. The number of keys does: it counts expired ones
-- until Redis comes to them.
local function notices(what, queue, id)
  local before = redis.call('DBSIZE')
  return redis.call(what, alarm(queue, id)) == 0 and redis.call('DBSIZE') < before
end

-- Index a task; true if nothing of this queue is due before it.
local function timer_add(queue, id, due, written, behind)
  written = written or whole(due)
  redis.call('ZADD', key_timer(queue), written, id)
  -- a key expires in the millisecond after the one given: never before its task is due
  local expires = math.floor(due / 1000)
  if expires > math.floor(now / 1000) then
    redis.call('SET', alarm(queue, id), '')
    redis.call('PEXPIREAT', alarm(queue, id), whole(expires))
  else
    redis.call('DEL', alarm(queue, id)) -- past: some servers would tell of it at once, some never
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

-- Told of tasks that were moved to READY; returns those whose events this made Redis send.
local function timer_moved(queue, ids)
  local echoes = {}
  for _, id in ipairs(ids) do
    if notices('DEL', queue, id) then echoes[#echoes + 1] = queue .. ':' .. id end
  end
  return echoes
end
