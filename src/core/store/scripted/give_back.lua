-- give_back: a worker is gone, or disowns what it holds: all of it can be run again at once.
-- Guarantee: a call moves no more tasks than a short step can; every task leaves the held list together with its claim. A
--   worker that was taken for silent keeps what it holds if it has given a sign of life since. The wake-ups that the worker
--   took with it are pushed again. Records of a newer dueq are put aside, and damaged ones go into quarantine.
-- KEYS[1] prefix
-- ARGV    now, worker, cause ('w' worker lost, 'e' its life expired, 'u' it disowns what it never ran),
--         most losses before a task is buried, since (microseconds; when the worker was lost),
--         how it was lost (for people), the token of the task that it was running ('' not known, '0' none; if it is known,
--         only that task is to blame), then the tokens of the tasks that it is known to have begun. If the token of the task
--         that it was running is known, so are these: other claims never began, though Redis may have them as started. With
--         cause 'u' these are of tasks that it has ended: Redis has lost the end of those that it has as held, and they are
--         run again like tasks whose lease ran out
-- Returns {how many it still holds, then per task: id, queue, 'started' | 'held' | 'dead'}
local worker, cause = ARGV[2], ARGV[3]
local reply, begun, bytes = { 0 }, {}, 0
for at = 8, #ARGV do begun[ARGV[at]] = true end
if cause == 'e' then
  local life = redis.call('ZSCORE', key_workers(), worker)
  if life and tonumber(life) > now then return reply end -- it has given a sign of life since
end
for _, id in ipairs(redis.call('LRANGE', key_held(worker), 0, bounds.SCRIPT_TASKS - 1)) do
  local record = load(id)
  if bytes >= bounds.SCRIPT_BYTES then break end
  bytes = bytes + (record and #(record.body or record.raw) or 0)
  if record and record.worker == worker and (record.state == State.HELD or record.state == State.LEASED) then
    if record.state == State.HELD and begun[record.token] then
      record.state, record.starts = State.LEASED, record.starts + 1 -- its start is still on its way, or lost
    elseif record.state == State.LEASED and ARGV[7] ~= '' and not begun[record.token] then
      record.state, record.starts = State.HELD, record.starts - 1 -- the step that took it started all
    end
    local innocent = ARGV[7] ~= '' and ARGV[7] ~= record.token
    local forgotten = cause == 'u' and begun[record.token]
    local how = lose(id, record, forgotten and 'e' or cause, ARGV[5], innocent and 0 or tonumber(ARGV[4]), ARGV[6])
    for _, item in ipairs({ id, record.queue, how }) do reply[#reply + 1] = item end
  else
    -- needs oddity, set_apart, put_aside
    redis.call('LREM', key_held(worker), 1, id)
    local odd = (not record or record.raw) and oddity(id, record and record.raw)
    -- the store without scripts takes an entry first, and claims its task then. A worker killed in between leaves this
    -- entry; the namespace may have been moved to the store with scripts since
    if record and record.state == State.SCHEDULED then
      redis.call('RPUSH', key_ready(record.queue), id)
      wake_workers(record.queue, 1)
    elseif odd == 'newer' then
      put_aside({ ['?:"newer"'] = { whole(now), id } }) -- only a newer dueq can read its queue
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
  -- two each: Redis may not have seen yet that the worker's connection has ended, and give one wake-up to it
  for _, queue in ipairs(redis.call('ZRANGE', key_busy(), 0, 99)) do pass_baton(queue, 2) end
end
return reply
