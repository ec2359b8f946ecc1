-- remove: take tasks out of the index, for a migration.
-- KEYS[1] prefix
-- ARGV    now, then per task: queue, id, due
for at = 2, #ARGV, 3 do timer_remove(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])) end
