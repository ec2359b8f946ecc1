-- release: put tasks that a worker holds but has not started back into their ready lists.
-- Guarantee: only a claim that is still held and unstarted, under this token, is put back.
-- KEYS[1] prefix
-- ARGV    now, worker, then per claim: id, token
-- Returns how many were put back
local released = 0
for at = 3, #ARGV, 2 do
  local record = load(ARGV[at])
  if record and record.state == State.HELD and record.token == ARGV[at + 1] and record.worker == ARGV[2] then
    put_back(ARGV[at], record)
    released = released + 1
  end
end
return released
