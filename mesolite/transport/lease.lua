-- Who leads (see Lease in contract.py). KEYS[1] lease   KEYS[2] epoch
-- ARGV[1] what to do: claim HOLDER ADDRESS TTL AT_LEAST | renew LEASE EPOCH TTL | release LEASE | look
--
-- Stored under `lease` is "EPOCH HOLDER ADDRESS". Answers what is stored afterwards and its time to live, or an empty list.

local what = ARGV[1]
local stored = redis.call('GET', KEYS[1])

local function hold(lease, ttl)
  redis.call('SET', KEYS[1], lease, 'PX', ttl)
  return {lease, tonumber(ttl)}
end

if what == 'claim' then
  local holder, address, ttl, at_least = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  if not stored or string.match(stored, '^%d+ (%S+) ') == holder then
    local epoch = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, tonumber(at_least))
    epoch = string.format('%d', epoch)
    redis.call('SET', KEYS[2], epoch)
    return hold(epoch .. ' ' .. holder .. ' ' .. address, ttl)
  end
elseif what == 'renew' then
  local lease, epoch, ttl = ARGV[2], ARGV[3], ARGV[4]
  if (not stored or stored == lease) and (redis.call('GET', KEYS[2]) or '0') == epoch then
    return hold(lease, ttl)
  end
elseif what == 'release' and stored == ARGV[2] then
  redis.call('DEL', KEYS[1])
  stored = false
end

if not stored then
  return {}
end
return {stored, redis.call('PTTL', KEYS[1])}
