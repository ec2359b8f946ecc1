-- Data that cannot be read. A record of a newer dueq is not damaged: it stays as it is. Damaged data goes into quarantine,
-- out of the way of everything else, its bytes kept whole. The Python side is core/schema/quarantine.py.

-- Whether a newer dueq wrote this record.
local function is_newer(raw)
  local version = string.match(raw, '^(%d%d?)|')
  return version ~= nil and tonumber(version) > tonumber(FORMAT)
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

-- Quarantine an unreadable entry `id`, which was taken out of a list, and its record `raw`, if it has one.
local function set_apart(kind, place, id, raw)
  quarantine(kind, place, id, raw or '')
  if raw then erase(id) end
end
