-- mend_heads: correct the noted first due times of some queues.
-- KEYS[1] prefix
-- ARGV    now, queues ...
-- Returns the queues whose first due time was missing, or too late: no dispatcher would have come in time
local late = {}
for at = 2, #ARGV do
  local queue = ARGV[at]
  local known, first = redis.call('ZSCORE', key_heads(), queue), note_head(queue)
  if first and (not known or tonumber(known) > tonumber(first)) then late[#late + 1] = queue end
end
if #late > 0 then wake_dispatcher() end
return late
