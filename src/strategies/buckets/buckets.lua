-- The timer index of `buckets`: a list per queue and second, a zset of the seconds, and their sizes. See __init__.py.

local function second_of(due) return whole(math.ceil(due / 1000000)) end

local function bucket(queue, second) return key_bucket(queue .. ':' .. second) end

-- Change one of the counts that are kept of a queue's buckets.
local function resize(queue, name, by)
  local key = key_sizes(queue)
  local reply = redis.pcall('HINCRBY', key, name, by)
  if refused_by(key, reply, name) then redis.call('HINCRBY', key, name, by) end
end

-- Index a task that is not in the index; true if no dispatcher may know of what is due before it. What is due already keeps
-- one awake; what is due in a moment may have been emptied just now, by a dispatcher that sleeps again.
local function timer_add(queue, id, due, written, behind)
  local second, soon = second_of(due), whole(math.floor(now / 1000000) + 1)
  redis.call('LPUSH', bucket(queue, second), id)
  redis.call('ZADD', key_seconds(queue), second, second)
  resize(queue, second, 1)
  resize(queue, 'all', 1)
  return not behind and #redis.call('ZRANGEBYSCORE', key_seconds(queue), '(' .. soon, '(' .. second, 'LIMIT', 0, 1) == 0
end

-- Whether the entry of a task is in its bucket; nil if it is not among the first, which are all that is looked at.
local function timer_holds(queue, id, due)
  local key = bucket(queue, second_of(due))
  local first = redis.call('LRANGE', key, 0, 31)
  for _, entry in ipairs(first) do
    if entry == id then return true end
  end
  if #first < 32 then return false end
end

-- A task leaves the index, and its entry stays, void: it does not count any more, if a dispatcher has not taken it yet.
local function timer_remove(queue, id, due)
  local second = second_of(due)
  if tonumber(second) > now / 1000000 + 1 or timer_holds(queue, id, due) ~= false then -- a census may be out for a while
    resize(queue, second, -1)
    resize(queue, 'all', -1)
    resize(queue, 'void:' .. second, 1)
    touch_guard()
  end
  return false
end

-- Let dispatchers find the bucket of a task again whose entry is in it; true if they did not.
local function timer_show(queue, due)
  local second = second_of(due)
  return redis.call('ZADD', key_seconds(queue), second, second) == 1
end
