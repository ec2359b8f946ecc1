-- Take a task out of the index of `watch`; true if it was there. Its dispatchers watch the guard.
local function timer_remove(queue, id, due)
  local removed = zset_remove(queue, id)
  if removed then touch_guard() end
  return removed
end
