-- One circuit shared by a fleet: every step that it can take.
--
-- This file and keeping.lua, in this order, are one script: this one decides, on a table `c` that
-- is the circuit; that one reads it from its keys, heals it, writes it and shows it.
--
-- House rules:
-- * All transitions are in STEPS. Each begins an epoch; what was admitted in another one is stale.
-- * Time is the server's, in microseconds. Members are told how long, never when.
-- * An operation reads what it needs and decides. Only keeping.lua writes.

local LARGEST = 9e15      -- whole numbers up to here survive as doubles, with room to count on
local LONGEST_LEASE = 5e6 -- no member takes a longer one, so an end beyond is a clock set back
local POOLED = 'pooled'   -- in the place of a streak: the failures are those in windows

-- Why a circuit begins an epoch, and where that leads from which state.
local STEPS = {
  -- what the circuit decides by itself
  tripped      = {from = 'closed',    to = 'open'},
  timed_out    = {from = 'open',      to = 'half_open'},
  recovered    = {from = 'half_open', to = 'closed'},
  probe_failed = {from = 'half_open', to = 'open'},
  -- what an operator decides, from any state
  reset        = {to = 'closed', mode = 'normal'},
  forced_open  = {to = 'open',   mode = 'forced_open'},
  disabled     = {to = 'closed', mode = 'disabled'},
  shadowed     = {to = 'closed', mode = 'shadow'},
  expired      = {to = 'closed', mode = 'normal'}, -- the operator's word had an end
}
-- Three more begin an epoch and are found, not decided: `created` (there was nothing), `healed`
-- (the keys were changed by other hands) and `lost` (a member knows more than the server).

local REASONS = {forced_open = 'forced_open', disabled = 'disabled', shadow = 'shadowed'}
local STATES = {closed = true, open = true, half_open = true}
local MODES = {normal = true, forced_open = true, disabled = true, shadow = true}

-- ---- numbers and texts -------------------------------------------------------------------------

local function digits(number)
  return string.format('%.0f', number) -- tostring gives 14 digits, a version has 16
end

local function whole(text)
  local number = text and string.match(text, '^%d+$') and tonumber(text)
  return number and number <= LARGEST and number
end

local function milliseconds(from, to)
  return math.max(0, math.ceil((to - from) / 1000)) -- may be late, never early
end

local function is_listed(names, name)
  return string.find(' ' .. names .. ' ', ' ' .. name .. ' ', 1, true) ~= nil
end

local function count(names)
  local _, number = string.gsub(names, '%S+', '')
  return number
end

-- ---- epochs ------------------------------------------------------------------------------------

local function shown(c)
  return c.mode == 'normal' and c.state or c.mode
end

-- The version grows across FLUSHALL, restarts and failovers: it is a clock that also counts.
local function advance(c)
  c.changed = true
  if not c.reading then c.version = math.max(c.version + 1, c.known + 1, c.now) end
end

local function entry(c, from)
  local say = cjson.encode
  return string.format(
    '{"at":%.3f,"epoch":%s,"from":%s,"to":%s,"reason":%s,"actor":%s,"cause":%s}', c.now / 1000000,
    digits(c.epoch), say(from), say(shown(c)), say(c.reason), say(c.actor), say(c.cause))
end

local function begin(c, reason, from, actor)
  advance(c)
  if not c.reading then c.epoch = c.version end
  c.reason, c.actor, c.rules = reason, actor or c.member, c.own_rules
  c.successes, c.barred, c.barred_until = 0, '', 0
  c.begun = true
  c.entries[#c.entries + 1] = entry(c, from)
end

local function wait_anew(c)
  local waits = c.state == 'open' and c.mode ~= 'forced_open'
  c.wait = waits and (c.drawn or c.timeout) or 0
  c.deadline = c.wait > 0 and c.now + c.wait or 0
end

-- How long it would stay open, as the member has drawn it; nothing if that is the timeout.
local function draw(c, wait)
  c.drawn = wait ~= '' and tonumber(wait) * 1000
end

-- How often it has opened by its own judgement since it was last closed.
local function count_opening(c)
  if c.state == 'closed' or c.mode ~= 'normal' and c.mode ~= 'shadow' then
    c.openings = 0
  elseif c.state == 'open' then
    c.openings = c.openings + 1
  end
end

local function enter(c, reason, cause, actor)
  local step, from = STEPS[reason], shown(c)
  assert(not step.from or step.from == c.state, reason)
  c.state = step.to
  if step.mode then c.mode, c.mode_end = step.mode, 0 end
  if step.to ~= 'half_open' then c.cause = cause or '' end -- half open: still what opened it
  c.failures, c.streak = 0, ''
  wait_anew(c)
  count_opening(c)
  begin(c, reason, from, actor)
end

-- ---- who is there ------------------------------------------------------------------------------

local function range(c, kind, longest)
  return redis.call('ZCOUNT', c.key[kind], '(' .. digits(c.now), digits(c.now + longest))
end

local function peers(c)
  return c.quorum > 1 and range(c, 'peers', c.presence) or 0
end

-- A member whose probe has failed lets others try first, if there are any and they do try: it
-- may be the one that is broken.
local function is_barred(c)
  return c.quorum > 1 and c.barred == c.member and c.now < c.barred_until and peers(c) > 1
end

local function longest_lease(c)
  return math.max(c.lease, LONGEST_LEASE)
end

local function live_probes(c)
  return c.state == 'half_open' and range(c, 'probes', longest_lease(c)) or 0
end

local function live_tokens(c, ...)
  local first, last = '(' .. digits(c.now), digits(c.now + longest_lease(c))
  return redis.call('ZRANGEBYSCORE', c.key.probes, first, last, ...)
end

local function first_end(c)
  return tonumber(live_tokens(c, 'WITHSCORES', 'LIMIT', 0, 1)[2])
end

-- ---- windows -----------------------------------------------------------------------------------

-- What is known of windows, by whose they are: each text is its end, its sign, and its numbers. A member
-- that has several circuits of this name has a seat for each.
local function windows(c)
  local found, told = redis.call('HGETALL', c.key.windows), {}
  for place = 1, #found, 2 do told[found[place]] = found[place + 1] end
  told[c.seat] = digits(c.told_until) .. ' ' .. c.told
  return told
end

local function add(sums, numbers)
  local place, is_bad = 0, false
  for number in string.gmatch(numbers, '%d+') do
    place = place + 1
    sums[place] = (sums[place] or 0) + tonumber(number)
    is_bad = is_bad or place % 2 == 0 and number ~= '0'
  end
  return is_bad
end

-- What is told longer than any member says was told before the server's clock went back.
local function add_up(c, sign)
  local sums, failing = {[sign] = {}}, {}
  for seat, text in pairs(windows(c)) do
    local ends, theirs, numbers = string.match(text, '^(%d+) (%S+) (.*)$')
    local left = ends and tonumber(ends) - c.now or 0
    if left <= 0 then
      c.silent[#c.silent + 1] = seat
    elseif left <= 2 * c.presence then
      sums[theirs] = sums[theirs] or {}
      local is_bad = add(sums[theirs], numbers)
      if is_bad and theirs == sign then failing[string.match(seat, '[^:]*')] = '' end
    end
  end
  return sums, failing
end

-- The most that is bad in one window stands for the failures, also where it is of another sign.
local function sum_up(c, sign)
  local sums, failing = add_up(c, sign)
  local members = 0
  for _ in pairs(failing) do members = members + 1 end
  c.failures, c.pooled = 0, tostring(members)
  for _, sum in ipairs(sums[sign]) do c.pooled = c.pooled .. ' ' .. digits(sum) end
  for _, theirs in pairs(sums) do
    for place = 2, #theirs, 2 do c.failures = math.max(c.failures, theirs[place]) end
  end
end

-- ---- the operations ----------------------------------------------------------------------------

local function judges_calls(c, epoch)
  return c.epoch == tonumber(epoch) and c.state == 'closed' and c.mode ~= 'disabled'
end

local function is_late(c, best_before)
  return c.now > (tonumber(best_before) or c.now)
end

local function is_due(c, is_settled)
  if c.failure_threshold == 0 then return false end -- a rule judges: it was a streak when it was counted
  local needed = c.quorum
  if is_settled == '1' then needed = math.min(needed, math.max(1, peers(c))) end
  return c.failures >= c.failure_threshold and count(c.streak) >= needed
end

local function fail(c, times)
  c.failed = true
  c.failures = c.failures + times
  if not is_listed(c.streak, c.member) and count(c.streak) < c.quorum then
    c.streak = c.streak .. ' ' .. c.member
  end
end

local OPERATIONS = {}

function OPERATIONS.peek()
  return 'view'
end

function OPERATIONS.sync()
  return 'view'
end

-- Runs are in the order in which calls ended: n > 0 is n failures, 0 is a success. A command can lie in
-- a frozen server's buffers for long: what is carried out after `best_before` is yesterday's news.
function OPERATIONS.batch(c, epoch, is_settled, best_before, wait, cause, ...)
  if not judges_calls(c, epoch) or is_late(c, best_before) then return 'stale' end
  local before = c.failures
  if c.streak == POOLED then c.failures, c.streak = 0, '' end
  draw(c, wait)
  for _, run in ipairs({...}) do
    if run == '0' then
      c.failures, c.streak = 0, ''
    else
      fail(c, tonumber(run))
    end
    if is_due(c, is_settled) then
      enter(c, 'tripped', cause)
      return 'opened'
    end
  end
  if c.failed or before > 0 then advance(c) end
  return 'counted'
end

-- What a member's windows hold by now, two numbers for each: calls, and how many of them are bad. They are
-- added up for those whose windows bear the same sign; what the sums mean, members judge. A member that
-- isn't heard of any more counts for `keep` milliseconds.
function OPERATIONS.pool(c, epoch, best_before, seat, keep, sign, ...)
  if not judges_calls(c, epoch) or is_late(c, best_before) then return 'stale' end
  local before = c.failures
  c.seat = c.member .. ':' .. seat
  c.told, c.told_until = sign .. ' ' .. table.concat({...}, ' '), c.now + tonumber(keep) * 1000
  sum_up(c, sign)
  c.failed, c.streak = c.failures > before, POOLED
  if c.failures > 0 or before > 0 then advance(c) end
  return 'counted'
end

function OPERATIONS.trip(c, epoch, best_before, wait, cause)
  if not judges_calls(c, epoch) or is_late(c, best_before) then return 'stale' end
  c.failed = true
  draw(c, wait)
  enter(c, 'tripped', cause)
  return 'opened'
end

function OPERATIONS.acquire(c, token)
  if c.mode == 'forced_open' or c.state == 'open' and c.now < c.deadline then return 'rejected' end
  if c.state == 'closed' then return 'closed' end
  if is_barred(c) or live_probes(c) >= c.half_open_max_calls then return 'full' end
  local barred = c.barred
  if c.state == 'open' then enter(c, 'timed_out') end
  if barred ~= '' and barred ~= c.member then -- others do try: it goes on waiting
    c.barred, c.barred_until = barred, c.now + c.lease
  else
    c.barred = ''
  end
  c.granted = token
  advance(c)
  return 'probe'
end

-- A token is good once, and until the epoch ends, also when its lease has lapsed.
function OPERATIONS.done(c, epoch, token, outcome, wait, cause)
  if c.epoch ~= tonumber(epoch) or c.state ~= 'half_open' then return 'stale' end
  if not redis.call('ZSCORE', c.key.probes, token) then return 'unknown' end
  if outcome == 'failure' then
    c.failed = true
    draw(c, wait)
    enter(c, 'probe_failed', cause)
    if c.quorum > 1 then c.barred, c.barred_until = c.member, c.deadline + c.lease end
    return 'opened'
  end
  c.returned = token
  c.makes_room = live_probes(c) >= c.half_open_max_calls
  advance(c)
  if outcome == 'ignored' then return 'released' end
  c.successes = c.successes + 1
  if c.successes < c.success_threshold then return 'counted' end
  enter(c, 'recovered')
  return 'closed'
end

-- Only leases that still live: the slot of a lapsed one may be somebody else's by now.
function OPERATIONS.renew(c, epoch, ...)
  if c.epoch ~= tonumber(epoch) or c.state ~= 'half_open' then return 'stale' end
  local live = {}
  for _, token in ipairs(live_tokens(c)) do live[token] = true end
  for _, token in ipairs({...}) do
    if live[token] then c.renewed[#c.renewed + 1] = token end
  end
  return 'renewed'
end

function OPERATIONS.force(c, mode, duration, actor)
  enter(c, REASONS[mode], nil, actor)
  if duration ~= '' then c.mode_end = c.now + tonumber(duration) * 1000 end
  return 'forced'
end

function OPERATIONS.reset(c, actor)
  enter(c, 'reset', nil, actor)
  return 'reset'
end

