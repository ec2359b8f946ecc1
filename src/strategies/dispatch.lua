-- dispatch: move due tasks from the timer zsets (see zset_index.py) to their ready lists, and return when to come back.
-- Guarantee: a task is in the timer index or in a ready list, never in both or neither. One call moves at most `limit`
--   tasks (and at most 1000), shared out over the queues that have due tasks. Each call begins with other queues, so
--   that a backlog of some does not delay the others. The cost does not grow with queues that have no due tasks.
-- KEYS[1] prefix
-- ARGV    now, limit
-- Returns {microseconds until the next task is due (0 if more are due, -1 if there is none),
--          a list of what timer_moved returned, now, the queue of that next task, then for each task moved: queue,
--          lateness in microseconds, id}
local refusal = refused(true)
if refusal then return refusal end

local left, reply, most = math.min(tonumber(ARGV[2]), 1000), { -1, {}, now, '' }, 50
local queues = redis.call('ZRANGEBYSCORE', key_heads(), '-inf', whole(now), 'LIMIT', 0, most + 1)
if #queues > most then
  queues = some_of(key_heads(), redis.call('ZCOUNT', key_heads(), '-inf', whole(now)), most)
end

local noted, gone = {}, {} -- the first due time of each queue that has tasks left, and the queues that have none
for turn = 1, #queues do
  local queue = queues[(now + turn) % #queues + 1]
  local key = key_timer(queue)
  local share = math.ceil(left / (#queues - turn + 1)) -- what one queue does not need goes to the queues after it
  if share == 0 then break end
  local due = redis.call('ZRANGEBYSCORE', key, '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, share)
  if #due > 0 then
    local ids = {}
    for at = 1, #due, 2 do
      ids[#ids + 1] = due[at]
      reply[#reply + 1] = queue
      reply[#reply + 1] = now - tonumber(due[at + 1])
      reply[#reply + 1] = due[at]
    end
    redis.call('ZREM', key, unpack(ids))
    redis.call('LPUSH', key_ready(queue), unpack(ids))
    for _, name in ipairs(timer_moved(queue, ids)) do table.insert(reply[2], name) end
    wake_workers(queue, #ids)
    left = left - #ids
  end
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first then
    noted[#noted + 1], noted[#noted + 2] = first, queue
  else
    gone[#gone + 1] = queue
  end
end
if #noted > 0 then redis.call('ZADD', key_heads(), unpack(noted)) end
if #gone > 0 then redis.call('ZREM', key_heads(), unpack(gone)) end
local nearest = redis.call('ZRANGE', key_heads(), 0, 0, 'WITHSCORES')
if nearest[1] then reply[1], reply[4] = math.max(0, nearest[2] - now), nearest[1] end
return reply
