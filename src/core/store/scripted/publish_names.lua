-- publish_names: publish the names that a process knows (see names.py), then push a wake-up to some lists: a step before it,
--   which could not see the names, may have taken one.
-- Guarantee: it succeeds on a full Redis, too: a worker without its names there takes no task, so that nothing would be freed.
-- KEYS[1] prefix
-- ARGV    now, the field of meta, its text, keys of wake-up lists ...
-- Returns nothing
allow_when_full()
redis.call('HSET', key_meta(), ARGV[2], ARGV[3])
for at = 4, #ARGV do
  redis.call('LPUSH', ARGV[at], '1')
  redis.call('LTRIM', ARGV[at], 0, bounds.MOST_WAKEUPS - 1)
end
