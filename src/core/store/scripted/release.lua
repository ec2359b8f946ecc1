-- release: put tasks that a worker holds but has not begun back into their ready lists.
-- Guarantee: only a claim that is still this worker's, under this token, is put back. If the step that took it counted it as
--   started, that start does not count.
-- KEYS[1] prefix
-- ARGV    now, worker, then per claim: id, token
-- Returns how many were put back
local released = 0
for at = 3, #ARGV, 2 do
  local record = load(ARGV[at])
  local ours = record and record.token == ARGV[at + 1] and record.worker == ARGV[2]
  if ours and (record.state == State.HELD or record.state == State.LEASED) then
    if record.state == State.LEASED then record.starts = record.starts - 1 end
    put_back(ARGV[at], record)
    released = released + 1
  end
end
return released
