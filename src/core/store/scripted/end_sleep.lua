-- end_sleep: have Redis do the step that waits behind a worker's sleep, by a wake-up for this worker alone.
-- Guarantee: no other worker is woken. A wake-up that nobody receives is gone after a minute.
-- KEYS[1] prefix
-- ARGV    now, worker
local bell = key_wakeup('@' .. ARGV[2])
allow_when_full()
redis.pcall('LPUSH', bell, '1') -- a key of another type there is for foreign_keys.py: nobody sleeps on that
redis.call('EXPIRE', bell, 60)
