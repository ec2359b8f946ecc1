-- wake_again: wake a worker for ready tasks in some queues: the worker that was woken for them may be gone.
-- KEYS[1] prefix
-- ARGV    now, queues ...
for at = 2, #ARGV do pass_baton(ARGV[at], 1) end
