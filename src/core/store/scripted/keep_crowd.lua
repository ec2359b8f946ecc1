-- keep_crowd: keep the set of queues that some workers serve (see crowds.py) alive, and named in `meta`: steps that make
--   tasks ready push to the wake-up lists of the sets named there.
-- Guarantee: while a set is kept, `meta` names it. A set that nobody has kept for an hour is gone, and not named any more.
-- KEYS[1] prefix
-- ARGV    now, name of the set, the key under which the caller has written it ('' if it should exist)
-- Returns 1, or 0 if it does not exist
local name = ARGV[2]
if ARGV[3] ~= '' and redis.call('EXISTS', ARGV[3]) == 1 then -- not so if its caller stood still for long
  redis.call('RENAME', ARGV[3], key_serves(name))
end
if redis.call('EXPIRE', key_serves(name), 3600) == 0 then return 0 end

local before, after, there = redis.call('HGET', key_meta(), 'crowds') or '', {}, false
for crowd in string.gmatch(before, '%w+') do
  if redis.call('EXISTS', key_serves(crowd)) == 1 then
    after[#after + 1] = crowd
    there = there or crowd == name
  else
    redis.call('DEL', key_wakeup('*' .. crowd))
  end
end
if not there then after[#after + 1] = name end
local text = table.concat(after, ' ')
if text ~= before then redis.call('HSET', key_meta(), 'crowds', text) end
return 1
