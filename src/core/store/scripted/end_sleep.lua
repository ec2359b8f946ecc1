-- end_sleep: have Redis do the step that waits behind a worker's sleep, by a wake-up for this worker alone.
-- Guarantee: no other worker is woken. A wake-up that nobody receives is gone after a minute. A key of another type in its
--   place is left for foreign_keys.py: nobody sleeps on that.
-- KEYS[1] prefix
-- ARGV    now, worker
-- Returns 1 if the wake-up is there, or 0
local bell = key_wakeup('@' .. ARGV[2])
allow_when_full()
if type(redis.pcall('LPUSH', bell, '1')) == 'table' then return 0 end
redis.call('EXPIRE', bell, 60)
return 1
