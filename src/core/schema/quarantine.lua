-- What cannot be read. A record of a newer dueq is no damage: it stays as it is. What is damaged goes into quarantine, its
-- bytes kept whole, out of the way of everything else. The Python side is core/schema/quarantine.py.

-- Whether a newer dueq wrote this record.
local function is_newer(raw)
  local version = string.match(raw, '^(%d%d?)|')
  return version ~= nil and tonumber(version) > 1
end

-- What is wrong with an entry, and its record if there is one: 'newer', 'record' (it is damaged), 'entry' (no task can have
-- this id); nil if nothing is.
local function oddity(id, raw)
  if not raw then return (id == '' or #id > bounds.MOST_ID_CHARACTERS or string.find(id, '[^!-~]')) and 'entry' or nil end
  if not parsed(raw) then return is_newer(raw) and 'newer' or 'record' end
end

-- `kind` is 'record' or 'entry'; `place` is where it was found, without spaces.
local function quarantine(kind, place, id, bytes)
  local what = whole(now) .. ' ' .. place .. ' ' .. id
  redis.call('HSET', key_quarantined(), kind .. ' ' .. what, bytes)
  redis.call('ZADD', key_quarantine(kind), whole(now), what)
end

-- The entry `id` was taken out of a list; what it stands for cannot be read.
local function set_apart(kind, place, id, raw)
  quarantine(kind, place, id, raw or '')
  if raw then erase(id) end
end
