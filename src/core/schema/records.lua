-- The record of a task, as bytes in a shard hash. Shared by every script; the Python side is core/schema/record.py.
--
--   2|state|due|queue|wait|history|token|worker|tail|body
--   1|state|due|queue|starts|retries|losses|cause|since|token|worker|body
--
-- state   a letter; scripts write the names of core/schema/states.py instead, and those of bounds.py instead of numbers
-- due     due_at in microseconds; wait: how many whole milliseconds before that the task was scheduled, '' if not known
-- history starts,retries,losses,cause,since; '' if nothing has happened yet
-- cause   why the next start is not the first: r retry, w worker lost, e lease expired, s snoozed (r in format 1); since: when that happened
-- token   of the last claim, '' once it is void
-- tail    fields for which there is no place above, name=value; each (see tail.py); those of a newer dueq are kept
--
-- A record keeps its format as long as it lives. New ones are written in the format of the namespace, which its `meta` names.
local FIELDS_1 = '^1|(' .. State.ANY .. ')|(%d+)|([%w_.-]+)|(%d+)|(%d+)|(%d+)|([rwe]?)|(%d*)|(%d*)|([%w_.-]*)|()'
local FIELDS_2 = '^2|(' .. State.ANY .. ')|(%d+)|([%w_.-]+)|(%d*)|([%d,rwes]*)|(%d*)|([%w_.-]*)|([^|]*)|()'
local HISTORY = '^(%d+),(%d+),(%d+),([rwes]?),(%d*)$'

-- Sets of queues that some workers serve, as `meta` names them; false if there are none, nil if that was not read yet.
local crowds
-- The format of new records in this namespace, and the record features in use, once `refused` has read them.
local record_format, record_features

local function whole(number) return string.format('%.0f', number) end

-- The time that an argument names in microseconds: '+n' counts from now (43 is '+'), and the past means now.
local function due_at(text) return math.max(now, string.byte(text) == 43 and now + tonumber(text) or tonumber(text)) end

-- The millisecond in which a microsecond lies.
local function millisecond(us) return math.floor(us / 1000) end

-- The fields of a record; nil if a newer dueq wrote it, or it is damaged.
local function parsed(raw)
  local state, due, queue, starts, retries, losses, cause, since, token, worker, at = string.match(raw, FIELDS_1)
  local scheduled, tail, wait, history -- scheduled: in which millisecond
  if not state then
    state, due, queue, wait, history, token, worker, tail, at = string.match(raw, FIELDS_2)
    if not state then return nil end
    starts, retries, losses, cause, since = 0, 0, 0, '', ''
    if history ~= '' then
      starts, retries, losses, cause, since = string.match(history, HISTORY)
      if not starts then return nil end
    end
    if wait ~= '' then scheduled = millisecond(due) - wait end
  end
  if at - 7 - #token - #worker - (tail and #tail + 1 or 0) >= bounds.MOST_HEAD_BYTES then return nil end
  return {
    state = state, due = tonumber(due), queue = queue, starts = tonumber(starts), retries = tonumber(retries),
    losses = tonumber(losses), cause = cause, since = since, token = token, worker = worker, scheduled = scheduled, tail = tail,
    body = string.sub(raw, at),
  }
end

local function load(id)
  local raw = redis.call('HGET', key_record(id), id)
  if not raw then return nil end
  return parsed(raw) or { state = '?', raw = raw } -- a newer dueq's, or damaged
end

local function encode(record)
  local past = { record.starts, record.retries, record.losses, record.cause, record.since }
  if not record.tail then
    return table.concat({
      '1', record.state, whole(record.due), record.queue, table.concat(past, '|'), record.token, record.worker, record.body,
    }, '|')
  end
  local history = table.concat(past, ',')
  return table.concat({
    '2', record.state, whole(record.due), record.queue,
    record.scheduled and whole(math.max(0, millisecond(record.due) - record.scheduled)) or '',
    history == '0,0,0,,' and '' or history, record.token, record.worker, record.tail, record.body,
  }, '|')
end

-- To parse and encode a whole record would be most of the work of a short step. So the steps that every task goes through
-- read and change only the fields that they must, by the functions below. For a record in another state these return nil.

-- Of a record that is claimed, or was: its state, queue, token and worker.
local function claim_in(raw)
  if string.byte(raw) == 49 then return string.match(raw, '^1|(%a)|%d+|([^|]*)|%d+|%d+|%d+|%a?|%d*|(%d*)|([^|]*)|') end -- 49 is '1'
  return string.match(raw, '^2|(%a)|%d+|([^|]*)|%d*|[%d,rwes]*|(%d*)|([^|]*)|[^|]*|')
end

-- Of a record that waits in `state`: when it is due, its queue, and the text before and after the token and the worker,
-- without its state.
local function waiting(raw, state)
  local version, is, before, due, queue, after, history
  if string.byte(raw) == 49 then
    version, is, before, due, queue, after = string.match(raw, '^(1|)(%a)(|(%d+)|([^|]*)|%d+|%d+|%d+|[rwe]?|%d*|)%d*|[^|]*(|.*)$')
  else
    version, is, before, due, queue, history, after = string.match(raw, '^(2|)(%a)(|(%d+)|([^|]*)|%d*|([^|]*)|)%d*|[^|]*(|[^|]*|.*)$')
    if history and history ~= '' and not string.find(history, HISTORY) then return nil end
  end
  if is == state and #before <= bounds.MOST_HEAD_BYTES then return tonumber(due), queue, version, before, after end
end

-- The name that the record calls whose text after the worker is `after`, in quotes; nil if its body is not a call.
local function name_after(version, after)
  return string.match(after, version == '1|' and '^|%[("[^"]*")' or '^|[^|]*|%[("[^"]*")')
end

-- A held record, as started; and its queue.
local function begun(raw)
  if string.byte(raw) == 49 then
    local before, queue, starts, after = string.match(raw, '^1|' .. State.HELD .. '(|%d+|([^|]*)|)(%d+)(|%d+|%d+|%a?|%d*|%d*|.*)$')
    if before then return '1|' .. State.LEASED .. before .. starts + 1 .. after, queue end
  end
  local before, queue, starts, after = string.match(raw, '^2|' .. State.HELD .. '(|%d+|([^|]*)|%d*|)(%d*)(.*)$')
  if before then return '2|' .. State.LEASED .. before .. (starts == '' and '1,0,0,,' or starts + 1) .. after, queue end
end

-- The record of a new task, encoded; `written` is its due time as text, and `rest` its tail and body. Needs `refused`, which
-- reads the format.
local function fresh(due, written, queue, rest)
  if record_format == '1' then return '1|' .. State.SCHEDULED .. '|' .. written .. '|' .. queue .. '|0|0|0||||' .. rest end
  local wait = whole(millisecond(due) - millisecond(now))
  return '2|' .. State.SCHEDULED .. '|' .. written .. '|' .. queue .. '|' .. wait .. '||||' .. rest
end

-- Whether `rest`, the tail and body of a task, has a tail: mostly it begins with the '|' after an empty one (124).
local function has_tail(rest) return string.byte(rest) ~= 124 end

-- `rest` of a task that has a tail and is due then: what counts from its due time becomes a time. core/schema/tail.py is the
-- Python side.
local function with_tail(rest, due)
  return (string.gsub(rest, '^x=%+(%d+);', function(after) return 'x=' .. whole(due + after) .. ';' end))
end

-- Note in `meta` the record features that the tail of a new task uses.
local function note_features(rest)
  if ',' .. record_features .. ',' == FEATURES then return end -- all are noted: then no tail need be looked through
  local feature_of = { x = 'expires', h = 'headers' }
  local all = {}
  for name in string.gmatch(record_features, '[^,]+') do all[#all + 1] = name end
  for name in string.gmatch(string.match(rest, '^[^|]*'), '(%a)=[^;]*;') do
    local feature = feature_of[name]
    if feature and not string.find(',' .. record_features .. ',', ',' .. feature .. ',', 1, true) then all[#all + 1] = feature end
  end
  table.sort(all)
  all = table.concat(all, ',')
  if all ~= record_features then redis.call('HSET', key_meta(), 'features', all) end
  record_features = all
end

local function save(id, record)
  local raw = encode(record)
  redis.call('HSET', key_record(id), id, raw)
  return raw
end

-- Up to `most` of the `all` members of a zset (at least one), beginning at another place each time.
local function some_of(key, all, most)
  local first = now % all
  local names = redis.call('ZRANGE', key, first, math.min(first + most, all) - 1)
  if #names < most and first > 0 then
    for _, name in ipairs(redis.call('ZRANGE', key, 0, math.min(first, most - #names) - 1)) do names[#names + 1] = name end
  end
  return names
end

local function erase(id) redis.call('HDEL', key_record(id), id) end

-- At maxmemory Redis refuses a script whose first write may take memory, but not one whose first write frees some. This is
-- such a first write, for steps that must work then: a running task must be able to end, and to stay its owner's until then.
local function allow_when_full() redis.call('ZREM', key_workers(), '') end

-- Whether a key that is kept beside the tasks refused a write, whose `reply` (by redis.pcall) this is; the caller then
-- repeats the write. Before that, a key of a wrong type is dropped, or a value that is not a number, or only the `field`
-- with that value: it must not stop a step half-way.
local function refused_by(key, reply, field)
  if type(reply) ~= 'table' or not reply.err then return false end
  local is_no_number = string.find(reply.err, 'not an integer', 1, true) or string.find(reply.err, 'overflow', 1, true)
  if is_no_number and field then
    redis.call('HDEL', key, field)
  elseif is_no_number or string.find(reply.err, 'wrong kind', 1, true) then
    redis.call('DEL', key)
  end
  return true
end

local function count(what, queue, by)
  if by <= 0 then return end
  local key, field = key_stats(), what .. ':' .. queue
  local reply = redis.pcall('HINCRBY', key, field, by)
  if refused_by(key, reply, field) then redis.call('HINCRBY', key, field, by) end
end

-- Returns the error that ends the step if another strategy or store owns the namespace, or a newer dueq; with `settled`, also
-- while a migration is under way: tasks may then be in the index of another strategy. Else returns nil, and whether nobody
-- owns the namespace yet; then, since every step reads `meta` here, whether tasks were put aside, and the field `also` if it
-- is given. core/schema/ownership.py is the Python side, and turns these errors into dueq's own.
local function refused(settled, also)
  local kept = redis.call('HMGET', key_meta(), 'strategy', 'from', 'by', 'format', 'features', 'store', 'aside', 'crowds', also or 'aside')
  crowds = kept[8]
  record_format = kept[4] or (kept[1] and '1' or FORMAT)
  local by, features = kept[3] or '', kept[5] or ''
  record_features = features
  local known = record_format == FORMAT or record_format == '1'
  if features ~= '' then
    for name in string.gmatch(features, '[^,]+') do
      known = known and string.find(FEATURES, ',' .. name .. ',', 1, true)
    end
  end
  local why = not known and { 'DUEQTOONEW', record_format, features }
    or kept[1] and kept[1] ~= STRATEGY and { 'DUEQMISMATCH', kept[1], by }
    or kept[6] and kept[6] ~= 'scripted' and { 'DUEQSTORE', kept[6], by }
    or settled and kept[2] and { 'DUEQMIGRATING', kept[2], by }
  if why then -- spaces and invisible characters (only damage has them) would break the error into other words
    for at = 2, 3 do why[at] = string.gsub(why[at], '[^!-~]', '?') end
    return redis.error_reply(table.concat(why, ' ') .. ' ')
  end
  return nil, not kept[1], kept[7], kept[9]
end

-- A task was taken out of the index: steps that watch the guard must look again.
local function touch_guard()
  if refused_by(key_guard(), redis.pcall('INCR', key_guard())) then redis.call('INCR', key_guard()) end
end

-- What a producer did, as an entry of the journal (see core/schema/journal.py). `at` is the time as text.
local function entry_of(kind, id, facts, at) return at .. '|' .. kind .. '|0|producer|' .. id .. ' ' .. facts end

-- Put entries into the list of the journal that `id` belongs to. A step calls this after its first write: at maxmemory, that
-- must be one that frees memory.
local function put_down(id, entries)
  local key = key_journal(id)
  local length = redis.pcall('LPUSH', key, unpack(entries))
  if refused_by(key, length) then length = redis.call('LPUSH', key, unpack(entries)) end
  -- not at every call: the list may be a tenth longer
  if length > bounds.MOST_NOTES * 11 / 10 then redis.call('LTRIM', key, 0, bounds.MOST_NOTES - 1) end
end

-- Note for `dueq explain` what a producer did.
local function note(kind, id, facts) put_down(id, { entry_of(kind, id, facts or '', whole(now)) }) end

-- When a task was scheduled, as a fact of the entry with which its record ends; '' if that is not known.
local function since_scheduled(record)
  return record.scheduled and '{"scheduled_us":' .. whole(record.scheduled * 1000) .. '}' or ''
end

-- One wake-up is enough for all dispatchers: the one that wakes looks at everything that is due.
local function wake_dispatcher()
  local there = redis.pcall('LLEN', key_wake())
  if there == 0 or refused_by(key_wake(), there) then redis.call('LPUSH', key_wake(), '1') end
end

-- For a strategy that keeps due times in `timer` zsets, `heads` has the due time of the first task of every queue in the
-- index. A dispatcher looks there, so the entry must never be later than that. This makes the entry anew from the queue's
-- zset, and returns it. If only one task has left the zset, due at `gone`, the entry still holds if another task is due no
-- later than that.
local function note_head(queue, gone)
  local first = redis.call('ZRANGE', key_timer(queue), 0, 0, 'WITHSCORES')[2]
  if not first then
    redis.call('ZREM', key_heads(), queue)
  elseif not gone or tonumber(first) > gone then
    redis.call('ZADD', key_heads(), first, queue)
  end
  return first
end

-- Whether `id`, which was indexed just now, is the first of its queue. Then its `due` time goes into `heads`.
local function leads(queue, id, due)
  if redis.call('ZRANGE', key_timer(queue), 0, 0)[1] ~= id then return false end
  redis.call('ZADD', key_heads(), due, queue)
  return true
end

-- An entry of a ready list is void once its task is cancelled or rescheduled; the step that takes it drops it. An id can be
-- used again and have several void entries, so they are counted: without the count, a dropped entry would look like a task
-- dispatched twice.
local function revoke(id)
  local reply = redis.pcall('HINCRBY', key_revoked(), id, 1)
  if type(reply) == 'table' then redis.call('HSET', key_revoked(), id, 1) end -- what stood there was no number
end

local function is_revoked(id) return redis.call('HEXISTS', key_revoked(), id) == 1 end

local function drop_revoked(id)
  local entries = redis.call('HGET', key_revoked(), id) or '' -- rubbish counts as one
  if entries ~= '1' and #entries < 16 and string.find(entries, '^[1-9]%d*$') then
    redis.call('HINCRBY', key_revoked(), id, -1)
  else
    redis.call('HDEL', key_revoked(), id)
  end
end

-- Wake workers of a queue that is marked busy already, and workers that serve it as one of a set (crowds.py). At most
-- bounds.MOST_WAKEUPS wake-ups wait. `for_set`: `queue` stands for such a set.
local function push_wakeups(queue, times, for_set)
  local list = key_wakeup(queue)
  local there = redis.pcall('LLEN', list)
  if refused_by(list, there) then there = redis.call('LLEN', list) end
  local wakeups = {}
  for at = 1, math.min(times, bounds.MOST_WAKEUPS) - there do wakeups[at] = '1' end
  if wakeups[1] then redis.call('LPUSH', list, unpack(wakeups)) end
  if for_set then return end
  if crowds == nil then crowds = redis.call('HGET', key_meta(), 'crowds') end
  if crowds then
    for crowd in string.gmatch(crowds, '%w+') do
      if redis.call('ZSCORE', key_serves(crowd), queue) then push_wakeups('*' .. crowd, times, true) end
    end
  end
end

-- Every step that pushes to a ready list calls this: it marks the queue busy and wakes its workers, one per new task at
-- most. A worker that finds more work than it takes wakes the next.
local function wake_workers(queue, tasks)
  if refused_by(key_busy(), redis.pcall('ZADD', key_busy(), 0, queue)) then redis.call('ZADD', key_busy(), 0, queue) end
  push_wakeups(queue, tasks)
end

local function bury(id, record, reason)
  record.state, record.token, record.worker, record.since = State.DEAD, '', '', ''
  save(id, record)
  redis.call('ZADD', key_dead(record.queue), whole(now), id)
  local key = key_reasons()
  if refused_by(key, redis.pcall('HSET', key, id, reason)) then redis.call('HSET', key, id, reason) end
end
