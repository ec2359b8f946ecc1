-- forget_revoked: entries of ready lists that are said to be void are gone.
-- Guarantee: an id of which more or fewer are void by now is left alone.
-- KEYS[1] prefix
-- ARGV    now, then per id: id, how many of its entries are said to be void
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
