-- What happens to tasks that a worker holds. Needs records.lua and the strategy's timer functions.

-- The worker does not hold `id` any more. A worker that holds nothing owes no sign of life, and leaves `workers`.
local function let_go(id, record)
  redis.call('LREM', key_held(record.worker), 1, id)
  redis.call('ZREM', key_leased(), record.queue .. ':' .. id)
  if redis.call('EXISTS', key_held(record.worker)) == 0 then redis.call('ZREM', key_workers(), record.worker) end
end

-- Put a claimed task back at the head of its ready list: it is late already.
local function put_back(id, record)
  let_go(id, record)
  record.state, record.token, record.worker = State.SCHEDULED, '', ''
  save(id, record)
  redis.call('RPUSH', key_ready(record.queue), id)
  wake_workers(record.queue, 1)
end

-- If tasks are left in a ready list, wake other workers for them (push `times` wake-ups), and return true. If none is left,
-- the queue is not busy any more, and its wake-ups are dropped. `empty`: the list is known to be empty.
local function pass_baton(queue, times, empty)
  if not empty and redis.call('EXISTS', key_ready(queue)) == 1 then
    push_wakeups(queue, times)
    return true
  end
  if redis.call('ZREM', key_busy(), queue) == 1 then redis.call('DEL', key_wakeup(queue)) end
end

-- The run of `id` under `token` has ended for good: `again`, the next run that the task asked for meanwhile, becomes the
-- record. With `indexed` it goes into the index. Without, the index may be another strategy's: it goes into its ready list,
-- and the worker that takes it there puts it into the index. If `again` cannot be read it is dropped.
local function follow(id, again, token, indexed)
  redis.call('HDEL', key_again(), id)
  local record = parsed(again)
  if not record then
    local due, queue, body = string.match(again, '^(%d+)|([^|]*)|(.*)$') -- in a namespace of format 1
    if not due then return erase(id) end
    record = parsed('1|' .. State.SCHEDULED .. '|' .. due .. '|' .. queue .. '|0|0|0|||||' .. body)
    if not record then return erase(id) end
  end
  local due, queue = math.max(now, record.due), record.queue
  record.due, record.token = due, token -- the token: if the end is sent again, it is recognised
  save(id, record)
  redis.call('SADD', key_queues(), queue)
  count('scheduled', queue, 1)
  note('scheduled', id, '{"due_us":' .. whole(due) .. ',"after":"' .. token .. '"}')
  if not indexed then
    redis.call('RPUSH', key_ready(queue), id)
    wake_workers(queue, 1)
  elseif timer_add(queue, id, due) then
    wake_dispatcher()
  end
end

-- A run that failed for good becomes a dead letter; under another id, if the task runs again under its own.
local function bury_run(id, record, reason, again, indexed)
  local token = record.token
  if not again then return bury(id, record, reason) end
  local apart = string.sub(id, 1, bounds.MOST_ID_CHARACTERS - 1 - #token) .. '~' .. token
  bury(apart, record, reason)
  note('apart', id, '{"id":"' .. apart .. '"}')
  follow(id, again, token, indexed)
end

-- For a worker of a set of queues, for which `mark` stands (crowds.py): the queues to take tasks from. These are queues of
-- the set that have work, or are in `lists` of tasks put aside; at most one more than a step may name. A mark with '*' means
-- in turns: other queues come first each time. A mark with '=' means in order of preference.
local function served(mark, lists)
  local serves, in_turns = key_serves(string.sub(mark, 2)), string.byte(mark) == 42
  local busy, found, seen = redis.call('ZCARD', key_busy()), {}, {}
  local function add(queue)
    local place = not seen[queue] and redis.call('ZSCORE', serves, queue)
    if place then found[#found + 1] = { queue, tonumber(place) } end
    seen[queue] = true
  end
  for _, list in ipairs(lists) do add(string.match(list, '^[^:]*')) end
  if busy > 0 and (in_turns or busy <= bounds.MOST_TASKS) then
    for _, queue in ipairs(some_of(key_busy(), busy, bounds.MOST_TASKS)) do
      if in_turns and #found > bounds.MOST_NAMED_QUEUES then break end
      add(queue)
    end
  end
  if busy > bounds.MOST_TASKS and (#found == 0 or not in_turns) then -- too many to look at one by one; seldom, if in turns
    allow_when_full() -- it is the first write of a step that settled nothing
    redis.call('ZINTERSTORE', key_chosen(), 2, serves, key_busy(), 'WEIGHTS', 1, 0)
    local all = redis.call('ZCARD', key_chosen())
    local names = all > 0 and in_turns and some_of(key_chosen(), all, bounds.MOST_NAMED_QUEUES + 1)
      or redis.call('ZRANGE', key_chosen(), 0, bounds.MOST_NAMED_QUEUES)
    redis.call('DEL', key_chosen())
    for _, queue in ipairs(names) do add(queue) end
  end
  if not in_turns then table.sort(found, function(one, other) return one[2] < other[2] end) end
  local queues = {}
  for at = 1, math.min(#found, bounds.MOST_NAMED_QUEUES + 1) do queues[at] = found[at][1] end
  return queues
end

-- The owner of a task is gone: put the task back, or bury it if it has now cost `most_losses` workers (0: the task is not to
-- blame). Returns 'started', 'held' or 'dead'.
local function lose(id, record, cause, since, most_losses, how)
  if record.state == State.HELD or cause == 'u' then
    -- never ran under this claim, so this delivery does not count
    if record.state == State.LEASED then record.starts = record.starts - 1 end
    put_back(id, record)
    return 'held'
  end
  record.cause, record.since = cause, since
  local blamed = cause == 'w' and most_losses > 0
  if blamed then record.losses = record.losses + 1 end
  if blamed and record.losses >= most_losses then
    let_go(id, record)
    local reason = 'killed its worker ' .. record.losses .. ' times' .. (how and how ~= '' and ', the last time it ' .. how or '')
    bury_run(id, record, reason, redis.call('HGET', key_again(), id))
    return 'dead'
  end
  put_back(id, record)
  return 'started'
end
