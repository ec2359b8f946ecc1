-- rehearse: wake idle workers of a queue a moment before a task of it is due, so that they are not slow then.
-- Guarantee: nothing changes but wake-ups. For one due time workers are woken once, however many dispatchers call this.
-- KEYS[1] prefix
-- ARGV    now, queue, when the task is due (microseconds)
local refusal = refused(true)
if refusal then return refusal end
if redis.pcall('GET', key_rehearsed()) == ARGV[3] then return end
allow_when_full()
redis.call('SET', key_rehearsed(), ARGV[3]) -- whatever type it had
wake_workers(ARGV[2], bounds.MOST_WAKEUPS) -- it marks the queue busy: the first worker that finds nothing drops the rest
