-- What one framework keeps (see Store.claim_state in contract.py). KEYS[1] a hash
-- ARGV[1] what to do: claim AT_LEAST | change GENERATION NUMBER_OF_PAIRS FIELD VALUE ... FIELD ...
--
-- The field '#' holds the generation; each other field is '=' and a name. The fields behind the pairs are to be deleted.
-- A claim answers the generation and all of the hash; a change whether it was made.

local generation = tonumber(redis.call('HGET', KEYS[1], '#') or 0)

if ARGV[1] == 'claim' then
  generation = math.max(generation + 1, tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], '#', string.format('%d', generation))
  return redis.call('HGETALL', KEYS[1])
end

if generation > tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], '#', ARGV[2])
local last_pair = 3 + 2 * tonumber(ARGV[3])
for at = 4, last_pair, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
end
for at = last_pair + 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[at])
end
return 1
