-- alive: a supervisor's sign of life, which must get through at maxmemory, too.
-- KEYS[1] prefix
-- ARGV    now, name, for how long it is taken to be alive from now on (microseconds)
-- Returns 1 if it was not registered, else 0
allow_when_full()
return redis.call('ZADD', key_supervisors(), whole(now + tonumber(ARGV[3])), ARGV[2])
