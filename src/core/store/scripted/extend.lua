-- extend: make the leases of running tasks, and the life of their worker, last one lease from now.
-- Guarantee: only a claim that is still this worker's is extended. A held claim has no lease of its own.
-- KEYS[1] prefix
-- ARGV    now, worker, lease (microseconds), then per claim: id, token
-- Returns per claim 1 extended or 0 lost
allow_when_full()
local reply, until_when = {}, whole(now + tonumber(ARGV[3]))
for at = 4, #ARGV, 2 do
  local record = load(ARGV[at])
  local ours = record and record.token == ARGV[at + 1] and record.worker == ARGV[2] and (record.state == State.LEASED or record.state == State.HELD)
  if ours and record.state == State.LEASED then redis.call('ZADD', key_leased(), until_when, record.queue .. ':' .. ARGV[at]) end
  reply[#reply + 1] = ours and 1 or 0
end
if redis.call('EXISTS', key_held(ARGV[2])) == 1 then redis.call('ZADD', key_workers(), until_when, ARGV[2]) end
return reply
