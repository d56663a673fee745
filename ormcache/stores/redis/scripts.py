"""The Lua scripts that mark and settle slots in Redis, atomically and by its own clock.

Slots are encoded as in :mod:`ormcache.stores.base`: the first byte of marks is 77, ``M``, and each mark has 16 bytes.
See `Scripting with Lua <https://redis.io/docs/latest/develop/programmability/eval-intro/>`_.
"""

from __future__ import annotations

import hashlib

_COMMON = """
-- The server's time in microseconds, asked for once and only if it is needed: most slots hold no marks of others.
local now
local function time()
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  return now
end
-- The live marks of other writers in the value of a slot, and the end of the last of their leases.
local function others(value, writer)
  local marks, last = '', 0
  if (#value - 1) % 16 == 0 then
    for at = 2, #value, 16 do
      if string.sub(value, at, at + 7) ~= writer then
        local lease_end = struct.unpack('>I8', value, at + 8)
        if lease_end > time() then
          marks = marks .. string.sub(value, at, at + 15)
          last = math.max(last, lease_end)
        end
      end
    end
  end
  return marks, last
end
-- The values of all keys; false for one that is empty or holds something else. A call costs more than what it does, and
-- Lua passes no more than some thousands of arguments.
local values
if #KEYS <= 100 then
  values = redis.call('MGET', unpack(KEYS))
else
  values = {}
  for first = 1, #KEYS, 100 do
    local some = redis.call('MGET', unpack(KEYS, first, math.min(first + 99, #KEYS)))
    for i = 1, #some do values[first + i - 1] = some[i] end
  end
end
-- A server that is out of memory may deny SET, but never DEL, and nothing to a script that has begun to write. So marks
-- are set after a DEL: they protect a write, and are gone before long. Of stamps there may be any number. There a slot
-- stays empty, which invalidates every entry as well. If slots were left empty, the answer is returned in a list.
local full, refused = false, false
local function deny(answer)
  if answer.err and not string.find(answer.err, '^%-?OOM') then error(answer.err) end
  return answer.err
end
local function set(key, value, ...)
  local marks = string.byte(value) == 77
  if (marks or not full) and not deny(redis.pcall('SET', key, value, ...)) then return end
  full = true
  redis.call('DEL', key)
  if not marks or deny(redis.pcall('SET', key, value, ...)) then refused = true end
end
local function answer(watched)
  if refused then return {watched} end
  return watched
end
"""

# KEYS: the slots, and perhaps the slot to watch. ARGV: writer, lease in microseconds, number of slots to mark
_MARK_SLOTS = """
local writer, lease_end, count = ARGV[1], time() + tonumber(ARGV[2]), tonumber(ARGV[3])
local own, lasting = writer .. struct.pack('>I8', lease_end), math.ceil(tonumber(ARGV[2]) / 1000)
local mark = 'M' .. own
for i = 1, count do
  local value = values[i]
  if value and string.byte(value) == 77 then
    local marks, last = others(value, writer)
    set(KEYS[i], 'M' .. marks .. own, 'PX', math.ceil((math.max(last, lease_end) - now) / 1000))
  else
    set(KEYS[i], mark, 'PX', lasting)
  end
end
return answer(#KEYS > count and values[#KEYS])
"""

# KEYS: the slots, and perhaps the slot to watch. ARGV: writer, stamp, number of slots to settle, length of the key of a
# row slot in bytes, seconds for which the stamp of a row slot is stored; perhaps also the number of slots at the end
# that get another value in place of the stamp, and that value
_SETTLE_SLOTS = """
local writer, count, length_of_rows, stamp = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[2]
local stamped = count - tonumber(ARGV[6] or 0)
for i = 1, count do
  local value, marks, last = values[i], '', 0
  if i > stamped then stamp = ARGV[7] end
  if value and string.byte(value) == 77 then marks, last = others(value, writer) end
  if marks ~= '' then
    set(KEYS[i], 'M' .. marks, 'PX', math.ceil((last - now) / 1000))
  elseif #KEYS[i] == length_of_rows then
    set(KEYS[i], stamp, 'EX', ARGV[5])
  else
    set(KEYS[i], stamp)
  end
end
return answer(#KEYS > count and values[#KEYS])
"""

MARK = _COMMON + _MARK_SLOTS
SETTLE = _COMMON + _SETTLE_SLOTS

# In a cluster ---------------------------------------------------------------------

#: What a script returns if the period has ended, and what it does if the server has no room for a stamp
PERIOD_ENDED = -1
NO_ROOM = -2

# The last of KEYS is the key of the period's token, the last of ARGV its value. A token is the incarnation of the node
# that began the period, a random number, both in 16 characters, and the time of the server from which on slots may be
# filled, in microseconds.
_IN_PERIOD = """
local token = redis.call('MGET', KEYS[#KEYS])[1]
if token ~= ARGV[#ARGV] then return -1 end
table.remove(KEYS)
table.remove(ARGV)
"""

_MAY_FILL = """
local may_fill = struct.unpack('>I8', token, 33) <= time()
"""

# KEYS: the token's. ARGV: incarnation, random number, microseconds for which no slot may be filled
BEGIN_PERIOD = """
local token = redis.call('MGET', KEYS[1])[1]
if token and #token == 40 and string.sub(token, 1, 16) == ARGV[1] then return token end
local time = redis.call('TIME')
token = ARGV[1] .. ARGV[2] .. struct.pack('>I8', time[1] * 1000000 + time[2] + tonumber(ARGV[3]))
redis.call('DEL', KEYS[1])  -- a server that is out of memory denies nothing to a script that has begun to write
redis.call('SET', KEYS[1], token)
return token
"""

MARK_IN_PERIOD = _IN_PERIOD + _COMMON + _MARK_SLOTS

SETTLE_IN_PERIOD = (
    _IN_PERIOD
    + _COMMON
    + _MAY_FILL
    + """
if not may_fill then
  local write = set
  set = function(key, value, ...)
    if string.byte(value) == 77 then write(key, value, ...) else redis.call('DEL', key) end
  end
end
"""
    + _SETTLE_SLOTS
)

# KEYS: the slots. ARGV: stamp, length of the key of a row slot in bytes, seconds for which the stamp of a row slot is
# stored
FILL_IN_PERIOD = (
    _IN_PERIOD
    + _COMMON
    + _MAY_FILL
    + """
for i = 1, may_fill and #KEYS or 0 do
  if not values[i] then
    local answer
    if #KEYS[i] == tonumber(ARGV[2]) then
      answer = redis.pcall('SET', KEYS[i], ARGV[1], 'NX', 'EX', ARGV[3])
    else
      answer = redis.pcall('SET', KEYS[i], ARGV[1], 'NX')
    end
    if answer and answer.ok then
      values[i] = ARGV[1]
    elseif answer and not string.find(answer.err, '^%-?OOM') then
      error(answer.err)
    elseif answer then
      return -2
    end
  end
end
return values
"""
)


def _digest(script: str) -> bytes:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


#: Script → its SHA-1 digest in hexadecimal, by which the server knows it
_SCRIPTS = (MARK, SETTLE, BEGIN_PERIOD, MARK_IN_PERIOD, SETTLE_IN_PERIOD, FILL_IN_PERIOD)
DIGESTS = {script: _digest(script) for script in _SCRIPTS}
