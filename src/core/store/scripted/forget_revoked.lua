-- forget_revoked: forget void entries of ready lists, which are not there any more.
-- Guarantee: an id that has more or fewer void entries by now is left alone.
-- KEYS[1] prefix
-- ARGV    now, then per id: id, how many void entries it had when the caller looked
-- Returns how many ids were forgotten
local refusal = refused(true)
if refusal then return refusal end

local forgotten = 0
for at = 2, #ARGV, 2 do
  if redis.call('HGET', key_revoked(), ARGV[at]) == ARGV[at + 1] then
    forgotten = forgotten + redis.call('HDEL', key_revoked(), ARGV[at])
  end
end
return forgotten
