-- The timer index of `buckets`: a list per queue and second, a zset of the seconds, and their sizes. See __init__.py.

local function second_of(due) return whole(math.ceil(due / 1000000)) end

local function bucket(queue, second) return key_bucket(queue .. ':' .. second) end

-- Change one of the counts in a queue's `sizes`.
local function resize(queue, name, by)
  local key = key_sizes(queue)
  local reply = redis.pcall('HINCRBY', key, name, by)
  if refused_by(key, reply, name) then redis.call('HINCRBY', key, name, by) end
end

-- Index a task that is not in the index; true if a dispatcher must be woken, since no bucket before it keeps one awake.
-- A due bucket does keep one awake. A bucket that is due in a moment may not: a dispatcher may have emptied it already,
-- and sleep again.
local function timer_add(queue, id, due, written, behind)
  local second, soon = second_of(due), whole(math.floor(now / 1000000) + 1)
  redis.call('LPUSH', bucket(queue, second), id)
  redis.call('ZADD', key_seconds(queue), second, second)
  resize(queue, second, 1)
  resize(queue, 'all', 1)
  return not behind and #redis.call('ZRANGEBYSCORE', key_seconds(queue), '(' .. soon, '(' .. second, 'LIMIT', 0, 1) == 0
end

-- Whether the entry of a task is in its bucket; nil if it is not among the first 32, and there are more.
local function timer_holds(queue, id, due)
  local key = bucket(queue, second_of(due))
  local first = redis.call('LRANGE', key, 0, 31)
  for _, entry in ipairs(first) do
    if entry == id then return true end
  end
  if #first < 32 then return false end
end

-- A task leaves the index, and its entry stays, void. If no dispatcher has taken the entry yet, the task no longer counts.
local function timer_remove(queue, id, due)
  local second = second_of(due)
  -- if timer_holds is nil, a census may be off for a while
  if tonumber(second) > now / 1000000 + 1 or timer_holds(queue, id, due) ~= false then
    resize(queue, second, -1)
    resize(queue, 'all', -1)
    resize(queue, 'void:' .. second, 1)
    touch_guard()
  end
  return false
end

-- Let dispatchers find the bucket of a task whose entry is in it; true if they could not find it before.
local function timer_show(queue, due)
  local second = second_of(due)
  return redis.call('ZADD', key_seconds(queue), second, second) == 1
end
