-- GETs of /api/v1/things/thing-NNNNNN. `-- COUNT` after the URL spreads them over that many rules, each as often as any;
-- `-- COUNT last` asks for the last alone.
dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") .. "/wrk-report.lua")

local requests = {}
local at = 0

function init(args)
  local count = tonumber(args[1])
  for i = 0, count - 1 do
    if args[2] ~= "last" or i == count - 1 then
      requests[#requests + 1] = wrk.format("GET", string.format("/api/v1/things/thing-%06d", i))
    end
  end
end

function request()
  at = (at + 7919) % #requests
  return requests[at + 1]
end
