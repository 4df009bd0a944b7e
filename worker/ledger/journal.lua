-- Adds entries to the journal. Every script that writes to it begins with this text (journal_writer.py).
--
-- The last fields of an entry are `seq`, which grows by one with each entry, and `sha`, a SHA-1 over the `sha` of the
-- entry before, over `seq`, over the entry's position in the stream and over its other fields, in their order, each
-- with its length in front. A change, a removal or an insertion breaks this chain; chain.py verifies it.

-- The chain's end as the last entry in the stream says it; nil where that entry is not of the chain.
local function last_of_chain(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local fields = last and last[2] or {}
  if fields[#fields - 3] == 'seq' and fields[#fields - 1] == 'sha' then
    return tonumber(fields[#fields - 2]), fields[#fields]
  end
end

-- The time and the number in the id of the last entry that was ever added.
local function last_position(stream)
  if redis.call('EXISTS', stream) == 1 then
    local about = redis.call('XINFO', 'STREAM', stream)
    for number = 1, #about, 2 do
      if about[number] == 'last-generated-id' then
        local ms, n = string.match(about[number + 1], '^(%d+)-(%d+)$')
        return tonumber(ms), tonumber(n)
      end
    end
  end
  return 0, 0
end

-- Adds an entry of these fields, a flat list of texts. `head_key` holds the chain's end: seq, sha and position.
-- `keep_lines` is how many entries to keep, approximately; nil keeps all.
local function add_entry(stream, head_key, keep_lines, now, fields)
  local count = #fields
  local content = ''
  for at = 1, count, 2 do
    local name, value = fields[at], fields[at + 1]
    content = content .. #name .. ':' .. name .. #value .. ':' .. value
  end

  local function add(call, seq, sha, ms, n)
    if ms >= now then
      n = n + 1
    else
      ms, n = now, 0
    end
    local number, position = string.format('%.0f', seq + 1), string.format('%.0f-%.0f', ms, n)
    local next_sha = redis.sha1hex(
      #sha .. ':' .. sha .. #number .. ':' .. number .. #position .. ':' .. position .. content)
    fields[count + 1], fields[count + 2], fields[count + 3], fields[count + 4] = 'seq', number, 'sha', next_sha
    local added
    if keep_lines then
      added = call('XADD', stream, 'MAXLEN', '~', keep_lines, position, unpack(fields))
    else
      added = call('XADD', stream, position, unpack(fields))
    end
    if type(added) == 'table' and added.err then
      return false
    end
    redis.call('SET', head_key, number .. ' ' .. next_sha .. ' ' .. position)
    return true
  end

  local head = redis.pcall('GET', head_key)
  local seq, sha, ms, n = string.match(type(head) == 'string' and head or '', '^(%d+) (%x+) (%d+)%-(%d+)$')
  seq = tonumber(seq)
  if seq and add(redis.pcall, seq, sha, tonumber(ms), tonumber(n)) then
    return
  end
  -- There is no chain yet, its end was lost, or a worker of an earlier version, which does not chain, has added entries.
  local last_seq, last_sha = last_of_chain(stream)
  if not seq or (last_seq and last_seq > seq) then
    seq, sha = last_seq or 0, last_sha or ''
  end
  add(redis.call, seq, sha, last_position(stream))
end
