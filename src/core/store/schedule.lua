-- schedule: write new tasks' records and index them, or report those whose id is in use.
-- Guarantee: a record and its place in the timer index appear together; an id in use is left untouched.
-- KEYS[1] prefix
-- ARGV    now, then per task: id, due ('+n' counts from now, in microseconds), queue, body
-- Returns {now, then per task: 'new', or the state of the task that has the id}
local refusal, free = refused()
if refusal then return refusal end
if free then redis.call('HSET', key_meta(), 'strategy', STRATEGY) end

-- Once per run of tasks of the same queue.
local function entered(queue, tasks)
  if tasks == 0 then return end
  redis.call('SADD', key_queues(), queue)
  count('scheduled', queue, tasks)
end

local reply, earlier, last, tasks = { whole(now) }, false, nil, 0
for at = 2, #ARGV, 4 do
  local id, due, queue, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  due = math.max(now, string.sub(due, 1, 1) == '+' and now + tonumber(due) or tonumber(due))
  local written = whole(due)
  if redis.call('HSETNX', key_record(id), id, fresh(written, queue, body)) == 1 then
    if queue ~= last then
      entered(last, tasks)
      last, tasks = queue, 0
    end
    tasks = tasks + 1
    earlier = timer_add(queue, id, due) or earlier
    note('scheduled', id, '{"due_us":' .. written .. '}')
    reply[#reply + 1] = 'new'
  else
    reply[#reply + 1] = load(id).state -- '?' for a record that this version cannot read
  end
end
entered(last, tasks)
if earlier then ring_dispatcher() end
return reply
