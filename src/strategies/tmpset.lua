-- Take a task out of the index of `tmpset`; true if it was there. Its dispatchers watch nothing that changes with it.
local function timer_remove(queue, id, due) return zset_remove(queue, id) end
