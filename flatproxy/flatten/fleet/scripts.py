"""The scripts that a store runs, in Lua: what must happen all or nothing. Each touches keys of one hash tag only.

Whatever stands at a key, also what is no string at all: an entry that is none is overwritten by one, and a lease
without an end, which no node writes, is none.
"""

from __future__ import annotations

from typing import Final

from flatproxy.flatten.fleet.entry import HEAD, MAX_ENTRY, SCHEMA, VERSION_DIGITS

_ENTRY: Final = f"""
local function version(entry)
  if not entry or string.sub(entry, 1, 1) ~= '{SCHEMA.decode()}' then return 0 end
  return tonumber(string.sub(entry, 2, {VERSION_DIGITS + 1})) or 0
end
local function entry_at(key, ignored)
  local entry = redis.pcall('GET', key)
  if type(entry) == 'table' then entry = '?' end
  if not entry or (ignored ~= '' and string.sub(entry, 1, {HEAD}) == ignored) then return false end
  if #entry > {MAX_ENTRY} then return string.sub(entry, 1, {HEAD}) end
  return entry
end
"""
# KEYS: entry, lease. ARGV: the known version, token, milliseconds, the head of an entry that is none.
CLAIM: Final = f"""{_ENTRY}
local entry = entry_at(KEYS[1], ARGV[4])
if entry == '?' or version(entry) > tonumber(ARGV[1]) then return {{'entry', entry}} end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {{'granted'}} end
local left = redis.call('PTTL', KEYS[2])
if left >= 0 then return {{'held', left}} end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return {{'granted'}}
"""
# KEYS: entry, lease, changes. ARGV: the entry, milliseconds to keep it, token, field, what changed (0, 1, 2: only the
# store), channel, the head of an entry that is none.
PUBLISH: Final = f"""{_ENTRY}
local entry = entry_at(KEYS[1], ARGV[7])
if version(entry) >= version(ARGV[1]) then return {{'entry', entry}} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[3] ~= '' and redis.pcall('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
if ARGV[5] ~= '0' then
  local time = redis.call('TIME')
  local at = time[1] * 1000 + math.floor(time[2] / 1000)
  local last = redis.pcall('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
  if last.err then redis.call('DEL', KEYS[3]) end
  if last[2] and tonumber(last[2]) >= at then at = tonumber(last[2]) + 1 end
  redis.call('ZADD', KEYS[3], string.format('%.0f', at), ARGV[4])
  local hint = string.sub(ARGV[1], 2, {VERSION_DIGITS + 1}) .. ' ' .. ARGV[4]
  if ARGV[5] == '1' then redis.call('PUBLISH', ARGV[6], hint) end
end
return {{'published'}}
"""
# KEYS: lease. ARGV: token.
RELEASE: Final = "if redis.pcall('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return {'released'}"
# KEYS: lease. ARGV: token, milliseconds.
HOLD: Final = """
local token = redis.pcall('GET', KEYS[1])
if token and token ~= ARGV[1] then return {0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1}
"""
# KEYS: nodes, answers. ARGV: node, its record, its digests.
HERE: Final = """
local new = redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local time = redis.call('TIME')
return {new, time[1], time[2]}
"""
# KEYS: hashes. ARGV: what is taken out of each.
FORGET: Final = """
for _, key in ipairs(KEYS) do
  for _, name in ipairs(ARGV) do redis.call('HDEL', key, name) end
end
return {'forgotten'}
"""
