-- give_back: a worker is gone, or disowns what it holds: all of it can be run again at once.
-- Guarantee: no more tasks a call than a short step can; every task leaves the held list together with its claim. A worker taken for
--   silent that has been heard of since keeps what it holds. The wake-ups that the worker took with it are pushed again. What a newer
--   dueq wrote is put aside, and what is damaged goes into quarantine.
-- KEYS[1] prefix
-- ARGV    now, worker, cause ('w' worker lost, 'e' its life expired, 'u' it disowns what it never ran),
--         most losses before a task is buried, since (microseconds; when the worker was lost),
--         how it was lost, for people, the token of what it was running ('' not known, '0' nothing: only that is to blame,
--         if it is known), then the tokens of what it is known to have begun; with cause 'u', of what it has ended: that
--         Redis has it as held shows that it lost the end, so it is run again like one whose lease ran out
-- Returns {how many it still holds, then per task: id, queue, 'started' | 'held' | 'dead'}
local worker, cause = ARGV[2], ARGV[3]
local reply, begun, bytes = { 0 }, {}, 0
for at = 8, #ARGV do begun[ARGV[at]] = true end
if cause == 'e' then
  local life = redis.call('ZSCORE', key_workers(), worker)
  if life and tonumber(life) > now then return reply end -- it has been heard of since
end
for _, id in ipairs(redis.call('LRANGE', key_held(worker), 0, bounds.SCRIPT_TASKS - 1)) do
  local record = load(id)
  if bytes >= bounds.SCRIPT_BYTES then break end
  bytes = bytes + (record and #(record.body or record.raw) or 0)
  if record and record.worker == worker and (record.state == State.HELD or record.state == State.LEASED) then
    if record.state == State.HELD and begun[record.token] then
      record.state, record.starts = State.LEASED, record.starts + 1 -- its start is still on its way, or lost
    end
    local innocent = ARGV[7] ~= '' and ARGV[7] ~= record.token
    local forgotten = cause == 'u' and begun[record.token]
    local how = lose(id, record, forgotten and 'e' or cause, ARGV[5], innocent and 0 or tonumber(ARGV[4]), ARGV[6])
    for _, item in ipairs({ id, record.queue, how }) do reply[#reply + 1] = item end
  else
    -- needs oddity, set_apart, put_aside
    redis.call('LREM', key_held(worker), 1, id)
    local odd = (not record or record.raw) and oddity(id, record and record.raw)
    -- the store without scripts takes an entry first, and claims its task then: cut off in between, it leaves this, and
    -- the namespace may have been moved to a strategy with scripts since
    if record and record.state == State.SCHEDULED then
      redis.call('RPUSH', key_ready(record.queue), id)
      wake_workers(record.queue, 1)
    elseif odd == 'newer' then
      put_aside({ ['?:"newer"'] = { whole(now), id } }) -- who can read it knows its queue
    elseif odd then
      set_apart(odd, 'held:' .. worker, id, record and record.raw)
    elseif is_revoked(id) then
      drop_revoked(id)
    end
  end
end
reply[1] = redis.call('LLEN', key_held(worker))
if reply[1] == 0 then
  redis.call('ZREM', key_workers(), worker)
  -- twice: Redis may not have seen the end of its connection yet, which can take one wake-up
  for _, queue in ipairs(redis.call('ZRANGE', key_busy(), 0, 99)) do pass_baton(queue, 2) end
end
return reply
