-- add: put tasks into the index, for a migration.
-- KEYS[1] prefix
-- ARGV    now, then per task: queue, id, due
for at = 2, #ARGV, 3 do
  if timer_add(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])) then wake_dispatcher() end
end
