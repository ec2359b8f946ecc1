-- reap: take back leases that have run out, and find workers that hold tasks but give no sign of life.
-- Guarantee: at most `limit` leases a call, and no more than a short step can. A lease is taken back together with its claim.
-- KEYS[1] prefix
-- ARGV    now, limit, lease (microseconds; a lease that ran out was last confirmed one lease earlier), most losses,
--         latest (0, or the time past which the clock must have jumped: then nothing is taken back)
-- Returns {now, when the next lease or life runs out ('' if none does), names of silent workers in a list,
--          then per task: id, queue, 'started' | 'dead'}
local limit, lease, most_losses = math.min(tonumber(ARGV[2]), bounds.SCRIPT_TASKS), tonumber(ARGV[3]), tonumber(ARGV[4])
local bytes = 0
local reply = { whole(now), '', {} }
if tonumber(ARGV[5]) > 0 and now > tonumber(ARGV[5]) then return reply end

-- When the first of a zset ends; nil if it is empty.
local function first(key) return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) end

-- Those of a zset that have ended by now. `ends` is when the first of it ends.
local function ended(key, ends, ...)
  if not ends or ends > now then return {} end -- mostly so
  return redis.call('ZRANGEBYSCORE', key, '-inf', whole(now), ...)
end

local lease_ends = first(key_leased())
local expired = ended(key_leased(), lease_ends, 'WITHSCORES', 'LIMIT', 0, limit)
for at = 1, #expired, 2 do
  local queue, id = string.match(expired[at], '^([^:]*):(.*)$')
  local record = id and load(id)
  if record and record.state == State.LEASED and record.queue == queue then
    local how = lose(id, record, 'e', whole(tonumber(expired[at + 1]) - lease), most_losses)
    for _, item in ipairs({ id, queue, how }) do reply[#reply + 1] = item end
    bytes = bytes + #record.body
  else
    if record and record.raw and is_newer(record.raw) then
      redis.call('ZADD', key_leased(), whole(now + lease), expired[at]) -- an engine that can read it takes it back
    else
      redis.call('ZREM', key_leased(), expired[at])
      if record and record.raw then set_apart('record', 'leased:' .. queue, id, record.raw) end
    end
  end
  limit = bytes < bounds.SCRIPT_BYTES and limit - 1 or 0
  if limit == 0 then break end
end
if limit <= 0 then
  reply[2] = whole(now)
else
  if #expired > 0 then lease_ends = first(key_leased()) end
  local life_ends = first(key_workers())
  reply[3] = ended(key_workers(), life_ends, 'LIMIT', 0, limit)
  local next_end = math.min(lease_ends or math.huge, life_ends or math.huge)
  if next_end < math.huge then reply[2] = whole(next_end) end
end
return reply
