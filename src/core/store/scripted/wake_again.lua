-- wake_again: wake a worker for what is ready in some queues, since the one that was woken for it may be gone.
-- KEYS[1] prefix
-- ARGV    now, queues ...
for at = 2, #ARGV do pass_baton(ARGV[at], 1) end
