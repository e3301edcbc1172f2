"""The scripts: each does one request in one step.

A message is never in neither place. Where a write fails within a script, what came before stays (Redis rolls nothing back), so
each message is written down right after it was taken, and put back where that fails.
"""

from typing import Final

#: What an error begins with that says `Fenced`.
FENCED: Final = "MESOLITEFENCED"

_CHECK: Final = f"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('{FENCED} the messages are owned by another')
end
"""

#: KEYS: guard, owned, the queues' keys (priority by priority). ARGV: guard, prefix of ids, count, bytes, rotating, queues.
#: Answers whether nothing is left, and of each message the number of its key and itself. A key that was found empty is read
#: (LLEN), which makes Redis ring the bell when it changes (CLIENT TRACKING).
TAKE: Final = (
    _CHECK
    + """
local answer, left, room = {1}, tonumber(ARGV[3]), tonumber(ARGV[4])
local queues, taken = tonumber(ARGV[6]), 0
local order = {}
for q = 1, queues do order[q] = q end
for step = 0, (#KEYS - 2) / queues - 1 do
  local waiting = {}
  for q = 1, queues do waiting[q] = order[q] end
  local at = 1
  while at <= #waiting do
    if left == 0 or room <= 0 then
      answer[1] = 0
      return answer
    end
    local q = waiting[at]
    local number = 2 + step * queues + q
    local item = redis.call('RPOP', KEYS[number])
    if not item then
      table.remove(waiting, at)
    else
      local record = #KEYS[number] .. ':' .. KEYS[number] .. item
      local done = redis.pcall('HSET', KEYS[2], ARGV[2] .. '.' .. taken, record)
      if type(done) == 'table' and done.err then
        redis.call('RPUSH', KEYS[number], item)
        return done
      end
      taken, left, room = taken + 1, left - 1, room - #item
      answer[#answer + 1] = number - 2
      answer[#answer + 1] = item
      if ARGV[5] == '1' then
        table.remove(waiting, at)
        waiting[#waiting + 1] = q
        for n = 1, queues do
          if order[n] == q then table.remove(order, n) break end
        end
        order[queues] = q
      end
    end
  end
end
for number = 3, #KEYS do redis.call('LLEN', KEYS[number]) end
return answer
"""
)

#: KEYS: guard, owned, states, aside, and the key of each that goes. ARGV: guard, what is kept aside at most, then four lists,
#: each behind its length: ids that ended; ids and states; ids, ends and messages that go; ids and entries set aside.
#: Answers how many of those aside had to go.
WRITE: Final = (
    _CHECK
    + """
local at = 3
local function next_argument()
  at = at + 1
  return ARGV[at - 1]
end
local function forget(id)
  redis.call('HDEL', KEYS[3], id)
  return redis.call('HDEL', KEYS[2], id)
end
for _ = 1, tonumber(next_argument()) do forget(next_argument()) end
for _ = 1, tonumber(next_argument()) do
  local id, state = next_argument(), next_argument()
  if state == '' then redis.call('HDEL', KEYS[3], id) else redis.call('HSET', KEYS[3], id, state) end
end
for n = 1, tonumber(next_argument()) do
  local id, command, message = next_argument(), next_argument(), next_argument()
  if forget(id) == 1 then redis.call(command, KEYS[4 + n], message) end
end
local aside = tonumber(next_argument())
for _ = 1, aside do
  local id, entry = next_argument(), next_argument()
  if forget(id) == 1 then redis.call('LPUSH', KEYS[4], entry) end
end
if aside == 0 then return 0 end
local over = redis.call('LLEN', KEYS[4]) - tonumber(ARGV[2])
if over <= 0 then return 0 end
redis.call('LTRIM', KEYS[4], 0, tonumber(ARGV[2]) - 1)
return over
"""
)

#: KEYS: guard, lease, owners. ARGV: salt, lease in ms, owner's name. Answers {1, life's number} or {0, ms the lease lasts}.
CLAIM: Final = """
local lease = redis.call('PTTL', KEYS[2])
if lease > 0 then return {0, lease} end
local stored = redis.call('GET', KEYS[1])
local number = 1
if stored then number = tonumber(string.match(stored, '^(%d+)')) + 1 end
local life = number .. '.' .. ARGV[1]
redis.call('SET', KEYS[1], life .. '.0')
redis.call('SET', KEYS[2], life, 'PX', ARGV[2])
redis.call('SADD', KEYS[3], ARGV[3])
return {1, number}
"""

#: KEYS: guard, lease, owners. ARGV: life's number, life, session, lease in ms, owner's name. Answers 0 where another life began.
ENTER: Final = """
local stored = redis.call('GET', KEYS[1])
if stored then
  local number, life = string.match(stored, '^(%d+)'), string.match(stored, '^(%d+%.[^.]+)')
  if life ~= ARGV[2] and tonumber(number) >= tonumber(ARGV[1]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2] .. '.' .. ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
redis.call('SADD', KEYS[3], ARGV[5])
return 1
"""

#: KEYS: guard, lease. ARGV: life, lease in ms (0: the lease ends). Answers 0 where another life began or Redis forgot this one.
RENEW: Final = """
local stored = redis.call('GET', KEYS[1])
if not stored or string.match(stored, '^(%d+%.[^.]+)') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
return 1
"""

#: KEYS: guard, owned, states, and the key of each. ARGV: guard, how deep to look, then id, message and state of each.
#: Where a failover forgot that a message was taken it is back in its queue, near the end it is taken from.
RESTORE: Final = (
    _CHECK
    + """
for n = 1, #KEYS - 3 do
  local key, at = KEYS[3 + n], 3 * n
  local id, message, state = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.call('HEXISTS', KEYS[2], id) == 0 then
    local back = redis.pcall('LPOS', key, message, 'RANK', -1, 'MAXLEN', ARGV[2])
    if type(back) == 'number' then redis.call('LREM', key, -1, message) end
    redis.call('HSET', KEYS[2], id, #key .. ':' .. key .. message)
  end
  if state ~= '' then redis.call('HSET', KEYS[3], id, state) end
end
return 1
"""
)
