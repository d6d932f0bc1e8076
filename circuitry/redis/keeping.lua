-- How a shared circuit is kept: read from its keys, healed, written, and shown to those who asked.
--
-- KEYS are eight for each circuit; ARGV are what all circuits have in common, then ten for each
-- circuit, then what the operation needs. The reply is the view: all that a member may know.
--
-- House rules:
-- * Read, decide, write, in this order: scripts aren't rolled back, so what can fail on what is
--   stored fails before anything is written. The state is written first and deletions come after:
--   when memory has run out, the first write is refused and nothing is half done.
-- * The state key is the truth. If somebody wrote it by hand, so be it, under a new epoch.

local PROTOCOL = 1     -- a higher number in the hash: not ours to read or to write
local TRANSITIONS = 50 -- so many are kept in the history
local LAPSED = 256     -- so many tokens without a slot stay redeemable
local KINDS = {'state', 'failures', 'last_failure', 'meta', 'probes', 'peers', 'history', 'windows'}
local LASTING = {'state', 'failures', 'last_failure', 'meta', 'probes', 'history'} -- what comes and goes isn't among them
local COMMON = 4 -- operation, now, channel, member
local OWN = {
  'name', 'known', 'failure_threshold', 'success_threshold', 'timeout', 'half_open_max_calls',
  'lease', 'keep', 'quorum', 'presence',
}

-- What the hash holds. A hash in which one of these is missing or odd isn't believed.
local NUMBERS = {
  'protocol', 'version', 'epoch', 'deadline', 'wait', 'mode_end', 'failures', 'successes',
  'barred_until', 'openings',
}
local TEXTS = {'state', 'mode', 'reason', 'actor', 'cause', 'streak', 'barred', 'rules'}
local FIELDS = {}
for _, names in ipairs({NUMBERS, TEXTS}) do
  for _, name in ipairs(names) do FIELDS[#FIELDS + 1] = name end
end

-- ---- reading -----------------------------------------------------------------------------------

local function forget(c)
  for _, field in ipairs(NUMBERS) do c[field] = 0 end
  for _, field in ipairs(TEXTS) do c[field] = '' end
  c.state, c.mode = 'closed', 'normal'
end

-- Whether the hash is whole; if it isn't, nothing of it is believed.
local function remember(c)
  local found = redis.call('HMGET', c.key.meta, unpack(FIELDS))
  local stored = {}
  for place, field in ipairs(FIELDS) do stored[field] = found[place] end
  stored.openings = stored.openings or '0' -- who wrote it may not have counted them yet
  c.newer = (whole(stored.protocol) or 0) > PROTOCOL and stored.protocol
  local is_whole = STATES[stored.state] and MODES[stored.mode]
  for _, field in ipairs(NUMBERS) do
    c[field] = whole(stored[field])
    is_whole = is_whole and c[field]
  end
  for _, field in ipairs(TEXTS) do
    c[field] = stored[field]
    is_whole = is_whole and c[field]
  end
  if not is_whole then forget(c) end
  return is_whole
end

-- The state key differs from what was last written here.
local function heal(c, found)
  local from = shown(c)
  if STATES[found] or not found then -- any other text says nothing: what was written here stands
    c.state, c.mode, c.mode_end = found or 'closed', 'normal', 0
    c.cause, c.streak, c.openings = '', '', 0
    wait_anew(c)
  end
  begin(c, 'healed', from)
end

local function adopt_failures(c)
  local found = redis.call('GET', c.key.failures)
  local failures = c.state == 'closed' and whole(found) or 0
  if failures ~= c.failures then advance(c) end
  c.failures = failures
  if failures == 0 then c.streak = '' end
end

-- The server's clock went back: nobody waits longer than was said at first.
local function mind_the_clock(c)
  if c.deadline - c.now > c.wait then
    c.deadline, c.changed = c.now + c.wait, true
  end
end

local function understand(c)
  local found = redis.call('GET', c.key.state)
  local is_whole = remember(c)
  if c.newer then return end
  c.failures_before = c.failures
  if not found and not is_whole then
    if c.known == 0 and not c.reading then begin(c, 'created', 'closed') end
  elseif not is_whole or found ~= c.state then
    heal(c, found)
  end
  if c.known > c.version then begin(c, 'lost', shown(c)) end
  adopt_failures(c)
  mind_the_clock(c)
  if c.mode_end > 0 and c.now >= c.mode_end then enter(c, 'expired') end
end

-- ---- writing -----------------------------------------------------------------------------------

local function attend(c)
  if c.quorum == 1 or c.reading then return end
  redis.call('ZADD', c.key.peers, digits(c.now + c.presence), c.member)
  redis.call('ZREMRANGEBYSCORE', c.key.peers, '-inf', digits(c.now))
  redis.call('PEXPIRE', c.key.peers, milliseconds(0, c.presence))
end

-- How long the keys have to stay, in milliseconds; nil is for ever.
local function lifetime(c)
  if c.mode ~= 'normal' and c.mode_end == 0 then return nil end
  return milliseconds(c.now, math.max(c.deadline, c.mode_end)) + c.keep
end

local function stay(c)
  local needed = lifetime(c)
  for _, kind in ipairs(LASTING) do
    if needed then
      redis.call('PEXPIRE', c.key[kind], digits(needed + c.keep)) -- so not each check renews it
    else
      redis.call('PERSIST', c.key[kind])
    end
  end
end

local function stay_if_needed(c)
  local needed, left = lifetime(c), redis.call('PTTL', c.key.meta)
  if needed and left < needed or not needed and left >= 0 then stay(c) end
end

local function write_meta(c)
  c.protocol = PROTOCOL
  local pairs_of = {}
  for _, field in ipairs(NUMBERS) do
    pairs_of[#pairs_of + 1] = field
    pairs_of[#pairs_of + 1] = digits(c[field])
  end
  for _, field in ipairs(TEXTS) do
    pairs_of[#pairs_of + 1] = field
    pairs_of[#pairs_of + 1] = c[field]
  end
  redis.call('HSET', c.key.meta, unpack(pairs_of))
end

local function write_failures(c)
  if c.failures > 0 then
    redis.call('SET', c.key.failures, digits(c.failures))
  else
    redis.call('DEL', c.key.failures)
  end
  if c.failed then
    redis.call('SET', c.key.last_failure, digits(math.floor(c.now / 1000000)))
  elseif c.begun and c.reason == 'reset' then
    redis.call('DEL', c.key.last_failure)
  end
end

local function write_probes(c)
  if c.begun then redis.call('DEL', c.key.probes) end
  if c.returned then redis.call('ZREM', c.key.probes, c.returned) end
  if c.granted then
    redis.call('ZADD', c.key.probes, digits(c.now + c.lease), c.granted)
    redis.call('ZREMRANGEBYRANK', c.key.probes, 0, -LAPSED - c.half_open_max_calls - 1)
  end
end

-- An epoch begins with nothing counted, and windows in which nothing is bad needn't be known.
local function write_windows(c)
  if c.begun or c.told and c.failures == 0 then
    redis.call('DEL', c.key.windows)
  elseif c.told then
    redis.call('HSET', c.key.windows, c.seat, digits(c.told_until) .. ' ' .. c.told)
    if #c.silent > 0 then redis.call('HDEL', c.key.windows, unpack(c.silent)) end
    local needed = milliseconds(c.now, c.told_until)
    if redis.call('PTTL', c.key.windows) < needed then redis.call('PEXPIRE', c.key.windows, needed) end
  end
end

-- A history that can't be written is no reason to refuse a step.
local function write_history(c)
  for _, line in ipairs(c.entries) do redis.pcall('RPUSH', c.key.history, line) end
  if #c.entries > 0 then redis.pcall('LTRIM', c.key.history, -TRANSITIONS, -1) end
end

local function write(c)
  redis.call('SET', c.key.state, c.state)
  write_meta(c)
  write_failures(c)
  write_probes(c)
  write_windows(c)
  write_history(c)
  stay(c)
end

local function save(c)
  if c.reading then return end
  if c.changed then write(c) else stay_if_needed(c) end
  for _, token in ipairs(c.renewed) do
    redis.call('ZADD', c.key.probes, digits(c.now + c.lease), token)
  end
end

-- ---- the view ----------------------------------------------------------------------------------

local function remaining(c, verdict)
  if c.state == 'open' and c.now < c.deadline then return milliseconds(c.now, c.deadline) end
  if verdict == 'full' and is_barred(c) then return milliseconds(c.now, c.barred_until) end
  if c.state == 'half_open' and live_probes(c) >= c.half_open_max_calls then
    return milliseconds(c.now, first_end(c))
  end
  return 0
end

local function view(c, verdict)
  return {
    verdict, c.state, c.mode, digits(c.epoch), digits(c.version), digits(c.failures),
    digits(remaining(c, verdict)), digits(c.successes), digits(live_probes(c)), c.cause,
    c.reason, c.actor, digits(milliseconds(c.now, c.mode_end)), digits(peers(c)), c.rules,
    digits(#c.renewed), digits(c.now), digits(c.openings), c.pooled,
  }
end

local function no_view(c, verdict, why)
  forget(c)
  c.cause, c.quorum = why, 1
  return view(c, verdict)
end

-- Who must hear of it: of every epoch; of the first failure and the end of a streak, for only then do
-- members have to report successes; and of a slot that is free again, for who was told "full" waits.
local function publish(c)
  if c.reading or not c.changed then return end
  if not (c.begun or c.makes_room) and (c.failures > 0) == (c.failures_before > 0) then return end
  local message = view(c, 'view')
  table.insert(message, 1, c.name)
  table.insert(message, 1, digits(PROTOCOL))
  redis.pcall('PUBLISH', c.channel, cjson.encode(message))
end

-- ---- one call of the script --------------------------------------------------------------------

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function subject(place, now)
  local c = {
    now = now, channel = ARGV[3], member = ARGV[4], reading = ARGV[1] == 'peek',
    key = {}, entries = {}, renewed = {}, silent = {}, pooled = '',
  }
  for i, kind in ipairs(KINDS) do c.key[kind] = KEYS[place * #KINDS + i] end
  local first = COMMON + place * #OWN
  for i, name in ipairs(OWN) do c[name] = tonumber(ARGV[first + i]) end
  c.name = ARGV[first + 1]
  c.own_rules = table.concat(ARGV, '/', first + 3, first + 6)
  for _, name in ipairs({'timeout', 'lease', 'presence'}) do c[name] = c[name] * 1000 end
  return c
end

local function step(c, ...)
  understand(c)
  if c.newer then return no_view(c, 'newer', 'protocol ' .. c.newer) end
  attend(c)
  local verdict = OPERATIONS[ARGV[1]](c, ...)
  save(c)
  publish(c)
  return view(c, verdict)
end

-- One odd circuit must not hide the others that are read with it.
local function step_or_say_why(c)
  local is_done, result = pcall(step, c)
  if is_done then return result end
  return no_view(c, 'error', type(result) == 'table' and result.err or tostring(result))
end

local now = tonumber(ARGV[2]) or clock()
if ARGV[1] ~= 'sync' and ARGV[1] ~= 'peek' then
  return step(subject(0, now), unpack(ARGV, COMMON + #OWN + 1))
end
local views = {}
for place = 0, #KEYS / #KINDS - 1 do views[place + 1] = step_or_say_why(subject(place, now)) end
return views
