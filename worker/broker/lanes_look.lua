-- Finds lanes that have stood for some time, and has each looked at again only after that time. lanes.lua, which is put
-- in front of this text, has what it calls.
--
-- ARGV[1]  prefix of every key
-- ARGV[2]  hash of the unacked messages, with its prefix
-- ARGV[3]  for how long they must have stood, in milliseconds
-- ARGV[4]  how many are looked for
-- Returns {lane, id, tag, how often it was taken, queue, unknown, enqueued at, "1" when its message is out or parked, …}.
local prefix, found = ARGV[1], {}
local now = now_ms()
local index = prefix .. 'orders.lanes'
local standing = redis.pcall('ZRANGE', index, '-inf', string.format('%.0f', now - ARGV[3]), 'BYSCORE', 'LIMIT', 0, ARGV[4])
if standing.err then
  -- Somebody has changed its type. A lane enters it again when it is next entered or left.
  redis.call('DEL', index)
  standing = {}
end
for _, lane in ipairs(standing) do
  local held = redis.pcall('HMGET', lane_keys(prefix, lane), 'id', 'tag', 'queue', 'unknown', 'at', 'takes')
  redis.call('ZADD', index, now, lane)
  if held.err or not held[1] then
    lanes.go_on(prefix, lane)
  elseif held[1] == '' then
    lanes.call(prefix, lane, held[3])
  else
    local tag, queue = held[2] or '', held[3] or ''
    local alive = redis.call('HEXISTS', ARGV[2], tag) == 1
      or type(redis.pcall('ZSCORE', prefix .. queue .. '.parked', tag)) == 'string'
    for _, part in ipairs({lane, held[1], tag, held[6] or '0', queue, held[4] or 'hold', held[5] or '0', alive and '1' or '0'}) do
      found[#found + 1] = part
    end
  end
end
return found
