-- Tasks put aside: they are due, but the worker that took them does not know their name. They wait in a zset for each queue
-- and name, and the next worker that knows the name takes them from there. The field `aside` of meta says that there are
-- any: every step reads it with the same HMGET. The Python side is core/store/names.py and core/store/unclaimed.py.

-- Put tasks aside; `asides` has lists of times and ids by "queue:name".
local function put_aside(asides)
  for list, members in pairs(asides) do
    -- first: by this entry foreign_keys.py finds a key of a wrong type in the place of the list
    redis.call('ZADD', key_aside(), whole(now), list)
    redis.call('ZADD', key_unclaimed(list), unpack(members))
  end
  redis.call('HSETNX', key_meta(), 'aside', '1')
end

-- Wake a worker of each application that knows a name of what is in `asides`.
local function wake_knowing(asides)
  local meta = redis.call('HGETALL', key_meta())
  for at = 1, #meta, 2 do
    for list in pairs(asides) do
      local name = '"' .. string.match(list, '^[^:]*:(.*)$') .. '"'
      if string.sub(meta[at], 1, 6) == 'names:' and string.find(meta[at + 1], name, 1, true) then
        push_wakeups(meta[at], 1)
      end
    end
  end
end

-- Take a list off `aside` if it is empty by now.
local function tidy_aside(list)
  if redis.call('EXISTS', key_unclaimed(list)) == 1 then return end
  redis.call('ZREM', key_aside(), list)
  if redis.call('EXISTS', key_aside()) == 0 then redis.call('HDEL', key_meta(), 'aside') end
end

-- The name that a record calls.
local function called(record) return string.match(record.body, '^%["([^"]*)"') or '' end

-- A task that was put aside leaves its list: it is cancelled or rescheduled.
local function leave_aside(id, record)
  local list = record.queue .. ':' .. called(record)
  redis.call('ZREM', key_unclaimed(list), id)
  tidy_aside(list)
end

-- Some of the lists of tasks put aside, other ones each time if there are very many.
local function lists_aside()
  local from = math.max(0, redis.call('ZCARD', key_aside()) - bounds.MOST_LISTS_ASIDE)
  from = from > 0 and now % from or 0
  return redis.call('ZRANGE', key_aside(), from, from + bounds.MOST_LISTS_ASIDE - 1)
end

-- Move the first task of `queue` that was put aside under one of `names` (false: any name) into the list `held`. Returns its
-- id, and what `waiting` says of its record; nil if there is none.
local function take_aside(queue, names, lists, held)
  for _, list in ipairs(lists) do
    local of, name = string.match(list, '^([^:]*):(.*)$')
    if of == queue and string.byte(name) ~= 34 and (not names or string.find(names, '"' .. name .. '"', 1, true)) then
      for _, id in ipairs(redis.call('ZRANGE', key_unclaimed(list), 0, 9)) do
        redis.call('ZREM', key_unclaimed(list), id)
        local found = redis.call('HGET', key_record(id), id)
        local raw = found or ''
        local due, in_queue, version, before, after = waiting(raw, State.UNCLAIMED)
        if in_queue == queue then
          if due <= now then
            redis.call('LPUSH', held, id)
            tidy_aside(list)
            return id, version, before, after
          end
          redis.call('HSET', key_record(id), id, version .. State.SCHEDULED .. before .. '|' .. after) -- this server's clock is behind
          if timer_add(queue, id, due) then wake_dispatcher() end
        else
          local odd = oddity(id, found)
          if odd == 'newer' then
            put_aside({ [queue .. ':"newer"'] = { whole(now), id } })
          elseif odd then
            set_apart(odd, 'unclaimed:' .. queue, id, found)
          end
        end
      end
      tidy_aside(list)
    end
  end
end
