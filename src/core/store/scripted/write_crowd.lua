-- write_crowd: write some of the queues of a set that does not exist yet, under a key of its own (see crowds.py).
-- Guarantee: it succeeds on a full Redis, too: a worker without its set takes no task, so that nothing would be freed.
-- KEYS[1] prefix
-- ARGV    now, the key, for how many seconds it is kept while it is unfinished, the place of the first queue, queues ...
-- Returns nothing
allow_when_full()
local members = {}
for at = 5, #ARGV do
  members[#members + 1] = whole(tonumber(ARGV[4]) + at - 5)
  members[#members + 1] = ARGV[at]
end
redis.call('ZADD', ARGV[2], unpack(members))
redis.call('EXPIRE', ARGV[2], ARGV[3])
