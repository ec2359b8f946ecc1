-- again: a task asks, while it runs, to run once more after this run. The last such call counts.
-- Guarantee: the call is kept beside the record, which stays as it is, and becomes the record in the step that ends the run
--   for good (see claims.lua). A held task may be running already, so it counts as such.
-- KEYS[1] prefix
-- ARGV    now, id, token of the run, due ('+n' counts from now, in microseconds), queue, tail|body
-- Returns now if the call is kept, or '' if this is not the task's run (any more): then nothing has changed
local refusal = refused()
if refusal then return refusal end

local id, due = ARGV[2], ARGV[4]
local record = load(id)
if not record or (record.state ~= State.LEASED and record.state ~= State.HELD) or record.token ~= ARGV[3] then return '' end
due = due_at(due)
local rest = ARGV[6]
if has_tail(rest) then
  -- needs with_tail, note_features
  if record_format == '1' then return redis.error_reply('DUEQOLDFORMAT ') end
  rest = with_tail(rest, due)
  note_features(rest)
end
local next_run = fresh(due, whole(due), ARGV[5], rest)
if record_format == '1' then next_run = whole(due) .. '|' .. ARGV[5] .. rest end
redis.call('HSET', key_again(), id, next_run)
note('again', id, '{"due_us":' .. whole(due) .. '}')
return whole(now)
