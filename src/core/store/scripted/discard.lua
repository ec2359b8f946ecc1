-- discard: forget dead letters for good.
-- KEYS[1] prefix
-- ARGV    now, ids ...
-- Returns {how many were forgotten, how many of the ids were looked at: the others are for the next step}
local discarded, bytes, looked = 0, 0, 0
for at = 2, math.min(#ARGV, bounds.SCRIPT_TASKS + 1) do
  if bytes >= bounds.SCRIPT_BYTES then break end
  looked = looked + 1
  local record = load(ARGV[at])
  if record and record.state == State.DEAD then
    redis.call('ZREM', key_dead(record.queue), ARGV[at])
    redis.call('HDEL', key_reasons(), ARGV[at])
    erase(ARGV[at])
    note('discarded', ARGV[at], since_scheduled(record))
    discarded, bytes = discarded + 1, bytes + #record.body
  end
end
return { discarded, looked }
