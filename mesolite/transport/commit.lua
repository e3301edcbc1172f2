-- One batch of a master, applied in one step or not at all (DESIGN 4; see Commit in contract.py).
--
-- Every key is declared, so that access control and cluster routing see them:
--   KEYS[1] epoch   KEYS[2] cursor   KEYS[3] registry   KEYS[4..] the streams, each once
-- ARGV[1] is a MessagePack array; a number called `key` is an index into KEYS, one called `size` the length of the next piece
-- of ARGV[2], which is all values and payloads one behind the other (cmsgpack refuses what is not text):
--   epoch, as text
--   cursor expected:    {stream, id} ...
--   cursor to store:    {key, stream, id} ...
--   registry, set:      {field, size} ...
--   registry, delete:   field ...
--   appends:            {key, maximum length, size} ...
--   streams to delete:  key ...
--
-- Answers an empty list when it was applied, else {'epoch', stored} or {'cursor', stream, stored}.

local epoch, cursor_from, cursor_to, registry_set, registry_delete, appends, delete_streams =
  unpack(cmsgpack.unpack(ARGV[1]))

local read_to = 0
local function next_piece(size)
  local piece = string.sub(ARGV[2], read_to + 1, read_to + size)
  read_to = read_to + size
  return piece
end

-- The fence. Nothing is written before both comparisons hold: a script is not rolled back.

local stored_epoch = redis.call('GET', KEYS[1]) or '0'
if stored_epoch ~= epoch then
  return {'epoch', stored_epoch}
end
for _, expected in ipairs(cursor_from) do
  local stored = redis.call('HGET', KEYS[2], expected[1]) or '0-0'
  if stored ~= expected[2] then
    return {'cursor', expected[1], stored}
  end
end

-- The batch.

for _, cursor in ipairs(cursor_to) do
  redis.call('HSET', KEYS[2], cursor[2], cursor[3])
end
for _, pair in ipairs(registry_set) do
  redis.call('HSET', KEYS[3], pair[1], next_piece(pair[2]))
end
for _, field in ipairs(registry_delete) do
  redis.call('HDEL', KEYS[3], field)
end
for _, append in ipairs(appends) do
  redis.call('XADD', KEYS[append[1]], 'MAXLEN', '~', append[2], '*', 'p', next_piece(append[3]))
end
for _, key in ipairs(delete_streams) do
  redis.call('UNLINK', KEYS[key])
end

-- Behind the cursor nobody reads again. The entry at the cursor stays, and shows where reading stopped.

for _, cursor in ipairs(cursor_to) do
  redis.call('XTRIM', KEYS[cursor[1]], 'MINID', '=', cursor[3])
end
return {}
