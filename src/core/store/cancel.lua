-- cancel: forget a task that has not started.
-- Guarantee: returns 1 only if the task will not run; a started or dead one is left alone.
-- KEYS[1] prefix
-- ARGV    now, id
-- Returns 1 or 0
local refusal = refused(true)
if refusal then return refusal end

local id = ARGV[2]
local record = load(id)
if not record or (record.state ~= 'S' and record.state ~= 'H') then return 0 end
if record.state == 'H' then
  let_go(id, record)
elseif not timer_remove(record.queue, id, record.due) then
  revoke(id)
end
erase(id)
count('cancelled', record.queue, 1)
note('cancelled', id)
return 1
