-- One batch of a master, applied in one step or not at all (DESIGN 4; see Commit in contract.py).
--
-- Every key is declared, so that access control and cluster routing see them:
--   KEYS[1] epoch   KEYS[2] cursor   KEYS[3] registry   KEYS[4..] the streams, each once
-- ARGV is a list of counted sections:
--   epoch
--   n, then n times: stream name, cursor expected
--   n, then n times: index into KEYS, stream name, cursor to store
--   n, then n times: registry field, value
--   n, then n times: registry field to delete
--   n, then n times: index into KEYS, maximum length, payload
--   n, then n times: index into KEYS of a stream to delete
--
-- Answers an empty list when it was applied, else {'epoch', stored} or {'cursor', stream, stored}.

local next_argument = 0
local function take()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end
local function take_number()
  return tonumber(take())
end

-- The fence. Nothing is written before both comparisons hold: a script is not rolled back.

local epoch = take()
local stored_epoch = redis.call('GET', KEYS[1]) or '0'
if stored_epoch ~= epoch then
  return {'epoch', stored_epoch}
end
for _ = 1, take_number() do
  local stream, expected = take(), take()
  local stored = redis.call('HGET', KEYS[2], stream) or '0-0'
  if stored ~= expected then
    return {'cursor', stream, stored}
  end
end

-- The batch.

local applied = {}
for i = 1, take_number() do
  local key, stream, cursor = KEYS[take_number()], take(), take()
  redis.call('HSET', KEYS[2], stream, cursor)
  applied[i] = {key, cursor}
end
for _ = 1, take_number() do
  redis.call('HSET', KEYS[3], take(), take())
end
for _ = 1, take_number() do
  redis.call('HDEL', KEYS[3], take())
end
for _ = 1, take_number() do
  local key, max_length, payload = KEYS[take_number()], take(), take()
  redis.call('XADD', key, 'MAXLEN', '~', max_length, '*', 'p', payload)
end
for _ = 1, take_number() do
  redis.call('UNLINK', KEYS[take_number()])
end

-- Behind the cursor nobody reads again. The entry at the cursor stays, and shows where reading stopped.

for _, input in ipairs(applied) do
  redis.call('XTRIM', input[1], 'MINID', '=', input[2])
end
return {}
