-- advance: finish the task that a worker ran, start one it holds, or take and start new ones: one step, one trip.
-- Guarantee: a claim is settled once, and only by its own token and worker. A taken task is in the worker's held list from
--   the moment it leaves the ready list. The lease runs from the start, not from the taking. A token is higher than any
--   before, than any that the caller has seen, and not below the clock: it is never given twice, whatever Redis has lost.
--   A worker may begin a held task while the step that starts it is still on its way. So while the worker lives, only the
--   worker itself gives up its held tasks; and a held task that it settles was begun, whether or not its start got here.
--   A task whose name the worker does not know is put aside, unstarted and not counted as an attempt. The next worker that
--   knows the name takes it, before other tasks.
-- KEYS[1] prefix
-- ARGV    now, worker, lease (microseconds), want (how many to take, 0 for none),
--         outcome ('' none, 'ack', 'retry', 'dead'), its id, its token, its argument (delay in microseconds, or reason),
--         id and token of the held task to start ('' for none: then the first that is taken is started), the highest
--         token that the caller has seen, the field of meta with the names that the worker knows ('' for all names), queues in
--         order of preference ...; or the mark of a set of more than bounds.MOST_NAMED_QUEUES (crowds.py)
-- Returns {now, settled, dropped, started, how many tasks the worker holds, forgot, claims ...}
--   settled '' nothing to settle, 'done', 'repeated' (this very claim was settled before), 'missing', 'stale'
--   dropped the queue of each entry of a ready list that turned out to be dispatched twice; {queue, name, id} of each task
--           put aside; 0 if that field of meta is missing: then nothing is taken
--   started 1 if the held task, or else the first claim, is started, else 0
--   forgot  1 if Redis has lost data: the last token that it knew of is below one that the caller has seen; else 0
--   claims  what was taken: {id, encoded record}
local worker, want = ARGV[2], math.min(tonumber(ARGV[4]), bounds.MOST_TASKS)
local held, life = key_held(worker), now + tonumber(ARGV[3])
life = whole(life) -- when a lease that begins now ends, and until when the worker counts as alive

local any_aside, names
local again = (ARGV[5] == 'ack' or ARGV[5] == 'dead') and redis.call('HGET', key_again(), ARGV[6])
if again or ARGV[5] == 'retry' or want > 0 then -- these may touch the index; an ack must get through in any case
  -- needs refused
  local refusal, _, aside, known = refused(want > 0, ARGV[12])
  if refusal then return refusal end
  any_aside, names = aside, known
end

local settled = ''
if ARGV[5] ~= '' then
  local id, key = ARGV[6], key_record(ARGV[6])
  local raw = redis.call('HGET', key, id) or ''
  local state, queue, token, owner = claim_in(raw)
  if raw == '' then
    settled = 'missing'
  elseif token ~= ARGV[7] then
    settled = 'stale'
  elseif state ~= State.LEASED and state ~= State.HELD then
    settled = 'repeated'
  elseif owner ~= worker then
    settled = 'stale'
  else
    settled = 'done'
    -- -1: the oldest entry is the last. Whether the worker still holds anything is looked at below: mostly it takes the next
    redis.call('LREM', held, -1, id)
    redis.call('ZREM', key_leased(), queue .. ':' .. id)
    if ARGV[5] == 'ack' and not again then
      redis.call('HDEL', key, id)
    elseif ARGV[5] == 'ack' then
      -- needs follow
      follow(id, again, token, true)
    else
      -- needs load, save, bury, bury_run, wake_dispatcher
      local record = load(id)
      if state == State.HELD then record.starts = record.starts + 1 end
      if ARGV[5] == 'dead' then
        bury_run(id, record, ARGV[8], again, true)
        if not again then
          record.token = token -- if the same nack is sent again, it is recognised
          save(id, record)
        end
      else
        record.state, record.cause, record.since, record.worker = State.SCHEDULED, 'r', '', ''
        record.retries, record.due = record.retries + 1, now + tonumber(ARGV[8])
        save(id, record)
        if timer_add(queue, id, record.due) then wake_dispatcher() end
      end
    end
  end
end
local freed = settled == 'done' -- settling frees memory first; without it, another first write has to

local started, claims, dropped, forgot = 0, {}, {}, 0
if want > 0 and not names and ARGV[12] ~= '' then want, dropped = 0, { 0 } end
if ARGV[9] ~= '' then
  local id, key = ARGV[9], key_record(ARGV[9])
  local raw = redis.call('HGET', key, id) or ''
  local _, _, token, owner = claim_in(raw)
  if token == ARGV[10] and owner == worker then
    local record, queue = begun(raw)
    if record then
      if not freed then allow_when_full() end
      freed = true
      redis.call('ZADD', key_leased(), life, queue .. ':' .. id)
      redis.call('HSET', key, id, record)
      started = 1
    end
  end
end

if want > 0 then
  -- needs waiting, is_revoked, drop_revoked, wake_dispatcher, pass_baton
  local any_revoked, least, token, lists, asides
  local looked, bytes = 0, 0

  local function aside(queue, name, id)
    local list = queue .. ':' .. name
    asides, looked = asides or {}, looked + 1 -- it costs as much as two
    asides[list] = asides[list] or {}
    table.insert(asides[list], whole(now))
    table.insert(asides[list], id)
    dropped[#dropped + 1] = { queue, name, id }
  end

  -- Move the next task of `queue` that may run into the worker's held list. Returns its id, and its record's text before and
  -- after the token and the worker. If there is none: nil, and whether the queue is certainly empty; that is not certain
  -- once the step has looked at as many entries as it may.
  local function take(queue)
    if not freed then
      if not any_aside and redis.call('EXISTS', key_ready(queue)) == 0 then return nil, true end -- mostly so for an idle queue
      allow_when_full()
      freed = true
    end
    if any_aside and looked < bounds.MOST_TASKS then
      -- needs lists_aside, take_aside, push_wakeups
      lists = lists or lists_aside()
      local id, before, after = take_aside(queue, names, lists, held)
      if id then
        looked = looked + 2 -- it costs as much as two
        if names then push_wakeups(ARGV[12], 1) end -- there may be more, for another worker
        return id, before, after
      end
    end
    while looked < bounds.MOST_TASKS and bytes < bounds.SCRIPT_BYTES do
      local id = redis.call('RPOPLPUSH', key_ready(queue), held)
      if not id then return nil, true end
      looked = looked + 1 -- an empty queue is not counted: the queues behind it must have their turn
      if any_revoked == nil then any_revoked = redis.call('EXISTS', key_revoked()) == 1 end
      local raw, revoked = redis.call('HGET', key_record(id), id), any_revoked and is_revoked(id)
      local due, of, before, after = waiting(raw or '')
      local ours = of == queue -- not so if the id was used again in another queue
      if ours and due <= now then
        -- after a cancel or reschedule this may be the void one of two entries: then the index has the other, no longer needed
        if revoked and timer_remove(queue, id, due) then drop_revoked(id) end
        local name = names and string.match(after, '^|%[("[^"]*")') -- the worker buries a body that is not a call
        if not name or string.find(names, name, 1, true) then return id, before, after end
        redis.call('LREM', held, 1, id)
        redis.call('HSET', key_record(id), id, '1|' .. State.UNCLAIMED .. '|' .. before .. '|' .. after)
        aside(queue, string.sub(name, 2, -2), id)
        bytes = bytes + #raw
      else
        -- needs oddity, set_apart
        local odd = not ours and oddity(id, raw)
        redis.call('LREM', held, 1, id)
        if ours then
          -- not due yet (rescheduled, or this server's clock is behind): never lost. If the index has another entry of this
          -- task, this was the void one. If not, this entry goes back into the index, and the void one is still to come
          local there = false
          if revoked then
            if is_lazy() then there = timer_holds(queue, id, due) else there = timer_remove(queue, id, due) end
          end
          if there then drop_revoked(id) end
          if not (there and is_lazy()) and timer_add(queue, id, due) then wake_dispatcher() end
        elseif revoked and not odd then -- an unreadable task has this entry, which is not void
          drop_revoked(id)
        elseif odd == 'newer' then
          aside(queue, '"newer"', id)
        elseif odd then
          set_apart(odd, 'ready:' .. queue, id, raw)
        else
          dropped[#dropped + 1] = queue
        end
      end
    end
  end

  -- The token of the next claim. The last token is read once a step, and written once more if the step gives several.
  local function next_token()
    if token then
      token = token + 1
      return whole(token)
    end
    local highest = tonumber(ARGV[11])
    least = math.max(now, highest + 1)
    local text = whole(least)
    local last = redis.pcall('GETSET', key_token(), text)
    if type(last) == 'table' then redis.call('SET', key_token(), text) end -- the key had another type: it is made anew
    last = tonumber(last) or 0
    if last < highest then forgot = 1 end
    token = last >= least and last < 2^53 - 1 and last + 1 or least
    return token == least and text or whole(token)
  end

  local queues, first, mark, some_left = ARGV, 13, string.match(ARGV[13] or '', '^[*=]'), false
  if mark then
    -- needs served, lists_aside
    lists = any_aside and lists_aside() or {}
    queues, first = served(ARGV[13], lists), 1
  end
  for at = first, mark and math.min(#queues, bounds.MOST_NAMED_QUEUES) or #queues do
    local queue, empty = queues[at], false
    while #claims < want and bytes < bounds.SCRIPT_BYTES do
      local id, before, after = take(queue)
      if not id then empty = before break end
      local head = claimed(before, next_token(), worker, '')
      if ARGV[9] == '' and started == 0 then
        head, started = begun(head), 1
        redis.call('ZADD', key_leased(), life, queue .. ':' .. id)
      end
      local record = head .. after -- put together last: the text after the head may be long
      redis.call('HSET', key_record(id), id, record)
      claims[#claims + 1] = { id, record }
      bytes = bytes + #record
    end
    -- for every queue: the wake-up that this worker received may have been for another queue than it takes from
    some_left = pass_baton(queue, 1, empty) or some_left
  end
  if mark and not some_left then
    -- needs push_wakeups
    local list = '*' .. string.sub(ARGV[13], 2)
    if queues[bounds.MOST_NAMED_QUEUES + 1] then push_wakeups(list, 1, true) else redis.call('DEL', key_wakeup(list)) end
  end
  if token and token > least then redis.call('SET', key_token(), whole(token)) end
  if asides then
    -- needs put_aside, wake_knowing
    put_aside(asides)
    wake_knowing(asides)
  end
end

local holding = redis.call('LLEN', held)
if holding > 0 then
  if not freed then allow_when_full() end
  redis.call('ZADD', key_workers(), life, worker)
elseif settled == 'done' then
  redis.call('ZREM', key_workers(), worker) -- a worker that holds nothing owes no sign of life
end

return { now, settled, dropped, started, holding, forgot, unpack(claims) }
