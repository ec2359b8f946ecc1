-- discard: forget dead letters for good.
-- KEYS[1] prefix
-- ARGV    now, ids ...
-- Returns how many were forgotten
local discarded = 0
for at = 2, #ARGV do
  local record = load(ARGV[at])
  if record and record.state == 'D' then
    redis.call('ZREM', key_dead(record.queue), ARGV[at])
    redis.call('HDEL', key_reasons(), ARGV[at])
    erase(ARGV[at])
    note('discarded', ARGV[at])
    discarded = discarded + 1
  end
end
return discarded
