"""What Redis runs by itself, atomically: marking and settling, by its own clock.

Slots have the form of :mod:`ormcache.stores.base`: 77 is the letter that marks begin with, a record has 16 bytes.
"""

from __future__ import annotations

import hashlib

_COMMON = """
-- The server's time, asked for where it is needed, and once: most slots hold no mark of another.
local now
local function time()
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  return now
end
-- The living marks of others in a slot, and the end of the last of them.
local function others(key, writer)
  local value = redis.pcall('GET', key)
  local found, last = '', 0
  if type(value) == 'string' and string.byte(value) == 77 and (#value - 1) % 16 == 0 then
    for at = 2, #value, 16 do
      if string.sub(value, at, at + 7) ~= writer then
        local lease_end = struct.unpack('>I8', value, at + 8)
        if lease_end > time() then
          found = found .. string.sub(value, at, at + 15)
          last = math.max(last, lease_end)
        end
      end
    end
  end
  return found, last
end
-- What the slot behind the first ones holds, false for nothing or if there is none.
local function watched_after(count)
  local value = #KEYS > count and redis.pcall('GET', KEYS[#KEYS])
  return type(value) == 'string' and value
end
-- A server without memory may refuse to set, but never to delete. An empty slot retires every entry as well.
local function set(...)
  local answer = redis.pcall('SET', ...)
  if answer.err then
    if not string.find(answer.err, '^%-?OOM') then error(answer.err) end
    redis.call('DEL', (...))
  end
end
"""

# KEYS: the slots, and perhaps the slot to watch. ARGV: writer, lease in microseconds, number of slots to mark
MARK = (
    _COMMON
    + """
local writer, lease_end, count = ARGV[1], time() + tonumber(ARGV[2]), tonumber(ARGV[3])
local watched = watched_after(count)
for i = 1, count do
  local marks, last = others(KEYS[i], writer)
  marks = marks .. writer .. struct.pack('>I8', lease_end)
  set(KEYS[i], 'M' .. marks, 'PX', math.ceil((math.max(last, lease_end) - now) / 1000))
end
return watched
"""
)

# KEYS: the slots, and perhaps the slot to watch. ARGV: writer, stamp, number of slots to settle
SETTLE = (
    _COMMON
    + """
local count = tonumber(ARGV[3])
local watched = watched_after(count)
for i = 1, count do
  local marks, last = others(KEYS[i], ARGV[1])
  if marks == '' then
    set(KEYS[i], ARGV[2])
  else
    set(KEYS[i], 'M' .. marks, 'PX', math.ceil((last - now) / 1000))
  end
end
return watched
"""
)


def _digest(script: str) -> bytes:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


DIGESTS = {script: _digest(script) for script in (MARK, SETTLE)}
