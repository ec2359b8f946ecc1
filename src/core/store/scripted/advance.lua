-- advance: finish the tasks that a worker ran, start one it holds, or take and start new ones: one step, one trip.
-- Guarantee: a claim is settled once, and only by its own token and worker. A taken task is in the worker's held list from
--   the moment it leaves the ready list. The lease runs from the start, not from the taking. A token is higher than any
--   before, than any that the caller has seen, and not below the clock: it is never given twice, whatever Redis has lost.
--   A worker may begin a held task while the step that starts it is still on its way. So while the worker lives, only the
--   worker itself gives up its held tasks; and a held task that it settles was begun, whether or not its start got here.
--   A step that starts all that it takes counts tasks as started that have not begun yet. Whoever takes such a claim back,
--   and knows that it never began, does not count its start (see give_back.lua, release.lua).
--   A task whose name the worker does not know is put aside, unstarted and not counted as an attempt. The next worker that
--   knows the name takes it, before other tasks.
-- KEYS[1] prefix
-- ARGV    now, worker, lease (microseconds), want (how many to take, 0 for none),
--         outcome ('' none, 'ack', 'retry', 'snooze', 'dead'), its id, its token, its argument (reason; or for 'retry' and
--         'snooze' when it is due: '+n' counts from now, in microseconds),
--         id and token of the held task to start ('' for none: then the first that is taken is started), the highest
--         token that the caller has seen, the field of meta with the names that the worker knows ('' for all names),
--         '1' to start all that are taken ('' only the first), the supervisor without whose recent sign of life nothing is
--         taken ('' for none; not with the mark of a set), how many acks, the id and the token of each ..., queues in order
--         of preference ...; or the mark of a set of more than bounds.MOST_NAMED_QUEUES (crowds.py)
-- Returns {now, settled, dropped, started, how many tasks the worker holds, forgot, acked, claims ...}
--   settled '' nothing to settle, 'done', 'repeated' (this very claim was settled before), 'missing', 'stale'
--   dropped the queue of each entry of a ready list that turned out to be dispatched twice; {queue, name, id} of each task
--           put aside; 0 if that field of meta is missing, 1 if that sign of life is: then nothing is taken
--   started 1 if the held task, or else the first claim, is started, else 0
--   forgot  1 if Redis has lost data: the last token that it knew of is below one that the caller has seen; else 0
--   acked   like settled, for each of the acks; empty if all are 'done'
--   claims  what was taken: {id, encoded record}
local worker, want = ARGV[2], math.min(tonumber(ARGV[4]), bounds.MOST_TASKS)
local held, life = key_held(worker), now + tonumber(ARGV[3])
life = whole(life) -- when a lease that begins now ends, and until when the worker counts as alive

local any_aside, names
local runs_on, next_due = ARGV[5] == 'retry' or ARGV[5] == 'snooze', nil
if runs_on then next_due = due_at(ARGV[8]) end
local again = ARGV[5] ~= '' and not runs_on and redis.call('HGET', key_again(), ARGV[6])
local acks, agains, any_again = tonumber(ARGV[15]), nil, again
if acks > 0 then
  local ids = {}
  for at = 1, acks do ids[at] = ARGV[14 + 2 * at] end
  agains = redis.call('HMGET', key_again(), unpack(ids))
  for at = 1, acks do any_again = any_again or agains[at] end
end
if any_again or runs_on or want > 0 then -- these may touch the index; an ack must get through in any case
  -- needs refused
  local refusal, _, aside, known = refused(want > 0, ARGV[12])
  if refusal then return refusal end
  any_aside, names = aside, known
end

-- What becomes of a claim that the worker settles under `token`, now that `raw` is its record; its state and its queue.
local function fate(raw, token)
  local state, queue, current, owner = claim_in(raw)
  if raw == '' then return 'missing' end
  if current ~= token then return 'stale' end
  if state ~= State.LEASED and state ~= State.HELD then return 'repeated' end
  return owner == worker and 'done' or 'stale', state, queue
end

local acked, freed = {}, false
if acks > 0 then
  local done, leases = {}, {}
  for at = 1, acks do
    local id = ARGV[14 + 2 * at]
    local how, _, queue = fate(redis.call('HGET', key_record(id), id) or '', ARGV[15 + 2 * at])
    acked[at] = how
    if how == 'done' then done[#done + 1], leases[#leases + 1] = at, queue .. ':' .. id end
  end
  if #done > 0 then
    freed = true
    local oldest, in_order = redis.call('LRANGE', held, -#done, -1), true -- mostly these: the oldest entry is the last
    for nth, at in ipairs(done) do in_order = in_order and oldest[#done + 1 - nth] == ARGV[14 + 2 * at] end
    if in_order then redis.call('LTRIM', held, 0, -#done - 1) end
    redis.call('ZREM', key_leased(), unpack(leases))
    for _, at in ipairs(done) do
      local id = ARGV[14 + 2 * at]
      if not in_order then redis.call('LREM', held, -1, id) end
      if agains[at] then
        -- needs follow
        follow(id, agains[at], ARGV[15 + 2 * at], true)
      else
        redis.call('HDEL', key_record(id), id)
      end
    end
  end
  if #done == acks then acked = {} end
end

local settled = ''
if ARGV[5] ~= '' then
  local id, key = ARGV[6], key_record(ARGV[6])
  local token, raw, state, queue = ARGV[7], redis.call('HGET', key, id) or '', nil, nil
  settled, state, queue = fate(raw, token)
  local record
  if settled == 'done' and ARGV[5] ~= 'ack' then
    -- needs load
    record = load(id)
    if record.raw then settled = 'stale' end -- damaged meanwhile: whoever takes it back puts it into quarantine
  end
  if settled == 'done' then
    -- -1: the oldest entry is the last. Whether the worker still holds anything is looked at below: mostly it takes the next
    redis.call('LREM', held, -1, id)
    redis.call('ZREM', key_leased(), queue .. ':' .. id)
    if ARGV[5] == 'ack' and not again then
      redis.call('HDEL', key, id)
    elseif ARGV[5] == 'ack' then
      -- needs follow
      follow(id, again, token, true)
    else
      -- needs save, bury, bury_run, wake_dispatcher
      if state == State.HELD then record.starts = record.starts + 1 end
      if ARGV[5] == 'dead' then
        bury_run(id, record, ARGV[8], again, true)
        if not again then
          record.token = token -- if the same nack is sent again, it is recognised
          save(id, record)
        end
      else
        record.state, record.since, record.worker = State.SCHEDULED, '', ''
        if ARGV[5] == 'retry' then
          record.cause, record.retries = 'r', record.retries + 1
        else -- the start that ends so was no attempt; format 1 has no letter for it, so there it is called a retry
          record.cause, record.starts = record.tail and 's' or 'r', record.starts - 1
        end
        record.due = next_due
        save(id, record)
        if timer_add(queue, id, record.due) then wake_dispatcher() end
      end
    end
  end
end
freed = freed or settled == 'done' -- settling frees memory first; without it, another first write has to

local started, claims, dropped, forgot = 0, {}, {}, 0
if want > 0 and ARGV[14] ~= '' then
  local ends = redis.pcall('ZSCORE', key_supervisors(), ARGV[14])
  local left = type(ends) == 'string' and tonumber(ends) - now or 0
  if left <= bounds.ALIVE_US - bounds.FRESH_US or left > bounds.ALIVE_US then
    -- this request has waited here for long, and the process that sent it may be gone: the next one that waits gets the
    -- wake-up, whichever list it came from
    -- needs pass_baton, push_wakeups
    want, dropped, freed = 0, { 1 }, true
    allow_when_full()
    for at = 16 + 2 * acks, #ARGV do pass_baton(ARGV[at], 1, false) end
    if any_aside and names then push_wakeups(ARGV[12], 1) end
  end
end
if want > 0 and not names and ARGV[12] ~= '' then want, dropped = 0, { 0 } end
if ARGV[9] ~= '' then
  local id, key = ARGV[9], key_record(ARGV[9])
  local raw = redis.call('HGET', key, id) or ''
  local state, queue, token, owner = claim_in(raw)
  if token == ARGV[10] and owner == worker and (state == State.HELD or state == State.LEASED) then
    if not freed then allow_when_full() end
    freed, started = true, 1
    redis.call('ZADD', key_leased(), life, queue .. ':' .. id)
    if state == State.HELD then redis.call('HSET', key, id, (begun(raw))) end -- else it was started when it was taken
  end
end

if want > 0 then
  -- needs waiting, is_revoked, drop_revoked, wake_dispatcher, pass_baton
  local any_revoked, least, token, lists, asides
  local leases, claimed_now = {}, {} -- claimed_now: what is to become of records, by id
  local looked, bytes = 0, 0

  local function aside(queue, name, id)
    local list = queue .. ':' .. name
    asides, looked = asides or {}, looked + 1 -- it costs as much as two
    asides[list] = asides[list] or {}
    table.insert(asides[list], whole(now))
    table.insert(asides[list], id)
    dropped[#dropped + 1] = { queue, name, id }
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

  -- Claim a task that is in the held list, from what `waiting` says of its record.
  local function claim(queue, id, version, before, after)
    local head = version .. State.HELD .. before .. next_token() .. '|' .. worker
    if ARGV[13] ~= '' or (ARGV[9] == '' and started == 0) then
      head = begun(head)
      if ARGV[9] == '' then started = 1 end
      leases[#leases + 1] = life
      leases[#leases + 1] = queue .. ':' .. id
    end
    local record = head .. after -- put together last: the text after the head may be long
    claims[#claims + 1], claimed_now[id] = { id, record }, record
    bytes = bytes + #record
  end

  -- Claim `id`, which was moved from the ready list of `queue` to the held list; or, if it may not run, see to its entry.
  local function look_at(queue, id)
    if any_revoked == nil then any_revoked = redis.call('EXISTS', key_revoked()) == 1 end
    local raw, revoked = claimed_now[id] or redis.call('HGET', key_record(id), id), any_revoked and is_revoked(id)
    local due, of, version, before, after = waiting(raw or '', State.SCHEDULED)
    local ours = of == queue -- not so if the id was used again in another queue
    if ours and due <= now then
      -- after a cancel or reschedule this may be the void one of two entries: then the index has the other, no longer needed
      if revoked and timer_remove(queue, id, due) then drop_revoked(id) end
      local name = names and name_after(version, after) -- the worker buries a body that is not a call
      if not name or string.find(names, name, 1, true) then return claim(queue, id, version, before, after) end
      redis.call('LREM', held, 1, id)
      redis.call('HSET', key_record(id), id, version .. State.UNCLAIMED .. before .. '|' .. after)
      aside(queue, string.sub(name, 2, -2), id)
      bytes = bytes + #raw
      return
    end
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

  -- Move up to `most` entries from a ready list to the held list. Returns them, the first one last.
  local function move(ready, most)
    if most == 1 then return { redis.call('RPOPLPUSH', ready, held) or nil } end
    local ids, oldest_first = redis.call('LRANGE', ready, -most, -1), {}
    if #ids == 0 then return ids end
    for at = #ids, 1, -1 do oldest_first[#oldest_first + 1] = ids[at] end
    redis.call('LPUSH', held, unpack(oldest_first))
    redis.call('LTRIM', ready, 0, -#ids - 1)
    return ids
  end

  -- Take tasks of `queue`. Returns whether the queue is certainly empty; that is not certain once the step has all that it
  -- wants, or has looked at as many entries as it may.
  local function take(queue)
    if not freed then
      if not any_aside and redis.call('EXISTS', key_ready(queue)) == 0 then return true end -- mostly so for an idle queue
      allow_when_full()
      freed = true
    end
    while any_aside and #claims < want and looked < bounds.MOST_TASKS and bytes < bounds.SCRIPT_BYTES do
      -- needs lists_aside, take_aside, push_wakeups
      lists = lists or lists_aside()
      local id, version, before, after = take_aside(queue, names, lists, held)
      if not id then break end
      looked = looked + 2 -- it costs as much as two
      if names then push_wakeups(ARGV[12], 1) end -- there may be more, for another worker
      claim(queue, id, version, before, after)
    end
    while #claims < want and looked < bounds.MOST_TASKS and bytes < bounds.SCRIPT_BYTES do
      local most = math.min(want - #claims, bounds.MOST_TASKS - looked)
      local ids = move(key_ready(queue), most)
      for at = #ids, 1, -1 do
        if bytes < bounds.SCRIPT_BYTES and looked < bounds.MOST_TASKS then
          looked = looked + 1 -- an empty queue is not counted: the queues behind it must have their turn
          look_at(queue, ids[at])
        else -- seldom: they go back, the first one last
          for back = at, 1, -1 do redis.call('LREM', held, 1, ids[back]) end
          redis.call('RPUSH', key_ready(queue), unpack(ids, 1, at))
          return false
        end
      end
      if #ids < most then return true end
    end
    return false
  end

  local queues, first, some_left = ARGV, 16 + 2 * acks, false
  local named = ARGV[first]
  local mark = string.match(named or '', '^[*=]')
  if mark then
    -- needs served, lists_aside
    lists = any_aside and lists_aside() or {}
    queues, first = served(named, lists), 1
  end
  for at = first, mark and math.min(#queues, bounds.MOST_NAMED_QUEUES) or #queues do
    local queue, empty = queues[at], false
    if #claims < want and bytes < bounds.SCRIPT_BYTES then empty = take(queue) end
    -- for every queue: the wake-up that this worker received may have been for another queue than it takes from
    some_left = pass_baton(queue, 1, empty) or some_left
  end
  -- leases first: if Redis refuses these, nothing is claimed, and what is in the held list goes back
  if leases[1] then redis.call('ZADD', key_leased(), unpack(leases)) end
  for _, claim in ipairs(claims) do redis.call('HSET', key_record(claim[1]), claim[1], claim[2]) end
  if mark and not some_left then
    -- needs push_wakeups
    local list = '*' .. string.sub(named, 2)
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
elseif settled == 'done' or acks > 0 then
  redis.call('ZREM', key_workers(), worker) -- a worker that holds nothing owes no sign of life
end

return { now, settled, dropped, started, holding, forgot, acked, unpack(claims) }
