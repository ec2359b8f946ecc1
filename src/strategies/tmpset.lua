-- Take a task out of the index of `tmpset`; true if it was there. No dispatcher watches a key that must change then.
local function timer_remove(queue, id, due) return zset_remove(queue, id) end
