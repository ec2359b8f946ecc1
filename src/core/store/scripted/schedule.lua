-- schedule: write new tasks' records and index them, or report those whose id is in use.
-- Guarantee: a record and its place in the timer index appear together. A record that has the id already is left untouched,
--   unless it is damaged: then it goes into quarantine.
-- KEYS[1] prefix
-- ARGV    now, then per task: id, due ('+n' counts from now, in microseconds), queue, tail|body
-- Returns {now, then per task: 'new', or the state of the task that has the id}. If the records under the ids are so large
--   that a short step cannot look at all of them, only the first tasks are done: the rest is for the next step
local refusal, free = refused()
if refusal then return refusal end
for at = 2, record_format == '1' and #ARGV or 0, 4 do
  if has_tail(ARGV[at + 3]) then return redis.error_reply('DUEQOLDFORMAT ') end
end
if free then
  redis.call('HMSET', key_meta(), 'strategy', STRATEGY, 'store', 'scripted', 'by', 'producer', 'format', record_format)
  redis.call('HSETNX', key_meta(), 'features', '')
end

local reply, earlier, last, tasks, soonest, noted = { now }, false, nil, 0, nil, whole(now)
local bytes = 0 -- of the records that have the ids
local journal = {} -- entries by list, and the id of a task whose list it is
for at = 2, #ARGV, 4 do
  local id, due, queue = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  due = due_at(due)
  local written, rest = whole(due), ARGV[at + 3]
  if has_tail(rest) then
    -- needs with_tail
    rest = with_tail(rest, due)
  end
  local record = fresh(due, written, queue, rest)
  local new, other = redis.call('HSETNX', key_record(id), id, record) == 1, nil
  if not new then
    -- needs oddity, set_apart, parsed
    local found = redis.call('HGET', key_record(id), id)
    bytes = bytes + #found
    if oddity(id, found) == 'record' then
      set_apart('record', string.sub(key_record(id), #P + 1), id, found)
      redis.call('HSET', key_record(id), id, record)
      new = true
    end
    other = parsed(found)
  end
  if new then
    if queue ~= last then
      count('scheduled', last, tasks) -- once per run of tasks of the same queue
      redis.call('SADD', key_queues(), queue)
      last, tasks, soonest = queue, 0, due
    end
    if has_tail(rest) then
      -- needs note_features
      note_features(rest)
    end
    earlier = timer_add(queue, id, due, written, tasks > 0 and soonest <= due) or earlier
    tasks, soonest = tasks + 1, math.min(soonest, due)
    if record_format == '1' then -- else the record says when it was scheduled
      local list = key_journal(id)
      journal[list] = journal[list] or { id = id }
      table.insert(journal[list], entry_of('scheduled', id, '{"due_us":' .. written .. '}', noted))
    end
    reply[#reply + 1] = 'new'
  else
    reply[#reply + 1] = other and other.state or '?' -- a newer dueq wrote it
  end
  if bytes >= bounds.SCRIPT_BYTES then break end
end
count('scheduled', last, tasks)
for _, entries in pairs(journal) do put_down(entries.id, entries) end
if earlier then wake_dispatcher() end
return reply
