-- Whose a message is: the account that its command names, in lower case; else "?". Read in front of take.lua;
-- worker/broker/groups.py does the same. The account is looked for in the first 4,095 bytes of the body by its name as
-- JSON writes it, which no text inside of JSON can imitate, because quotes are escaped there. Only what follows a name
-- "account" is decoded from base64, and no more than twice.

local BODY_CHARS, WINDOW_BYTES, MAX_OCCURRENCES = 5460, 96, 2

-- "account", quotes included, as base64 writes it: what it looks like where it begins with the first, second or third byte
-- of three; where its first whole four characters are in that; and how many bytes of what is decoded come before it.
local OCCURRENCES = {
  {'ImFjY291bnQi', 0, '^ImFjY291bnQi', 0},
  {'Y2NvdW50', 4, '^.[CSiy]JhY2NvdW50I[g-v]', 1},
  {'YWNjb3Vu', 4, '^..[AEIMQUYcgkosw048]iYWNjb3VudC[I-L]', 2},
}
local sextets

local function decoded(text)
  if not sextets then
    sextets = {}
    for i, range in ipairs({'AZ', 'az', '09', '++', '//'}) do
      for byte = range:byte(1), range:byte(2) do sextets[byte] = ({0, 26, 52, 62, 63})[i] + byte - range:byte(1) end
    end
  end
  local bytes, value, bits = {}, 0, 0
  for i = 1, #text do
    value, bits = value * 64 + sextets[text:byte(i)], bits + 6
    if bits >= 8 then
      bits = bits - 8
      bytes[#bytes + 1] = string.char(math.floor(value / 2 ^ bits))
      value = value % 2 ^ bits
    end
  end
  return table.concat(bytes)
end

-- Where "account" is next written in one of the three ways: the index of the four characters in which it begins.
local function next_occurrence(body, way, from)
  local mark, back, pattern = unpack(way)
  while true do
    local found = body:find(mark, from + back, true)
    if not found then return end
    local start = found - back
    if start % 4 == 1 and body:find(pattern, start) then return start end
    from = start + 1
  end
end

local function account_of(raw)
  local _, last = nil, nil
  if #raw <= 65536 then _, last = raw:find('"body"[ \t\n\r]*:[ \t\n\r]*"') end
  if not last then return '?' end
  local body = raw:sub(last + 1, last + BODY_CHARS):match('^[A-Za-z0-9+/]*')
  local places = {}
  for i, way in ipairs(OCCURRENCES) do places[i] = next_occurrence(body, way, 1) or math.huge end
  for _ = 1, MAX_OCCURRENCES do
    local way = 1
    for i = 2, 3 do
      if places[i] < places[way] then way = i end
    end
    local start = places[way]
    if start == math.huge then break end
    local skipped = OCCURRENCES[way][4]
    local window = decoded(body:sub(start, start + 131)):sub(skipped + 1, skipped + WINDOW_BYTES)
    local name = window:match('^"account"[ \t\n\r]*:[ \t\n\r]*"([^"\\]*)"')
    if name then
      name = name:lower()
      return name:find('^[a-z0-9_-]+$') and name or '?'
    end
    places[way] = next_occurrence(body, OCCURRENCES[way], start + 4) or math.huge
  end
  return '?'
end

-- The account if the taker knows it, else "?".
local function group_of(raw, names)
  local account = account_of(raw)
  return names:find(' ' .. account .. ' ', 1, true) and account or '?'
end
