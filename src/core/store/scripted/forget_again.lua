-- forget_again: a running task takes back the next run that it asked for.
-- KEYS[1] prefix
-- ARGV    now, id, token of the run
-- Returns 1 if there was one, else 0
local id = ARGV[2]
local record = load(id)
if not record or (record.state ~= State.LEASED and record.state ~= State.HELD) or record.token ~= ARGV[3] then return 0 end
if redis.call('HDEL', key_again(), id) == 0 then return 0 end
note('cancelled', id, '{"again":true}')
return 1
