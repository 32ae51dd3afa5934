-- wrk's figures as one JSON line. `-- BYTES` after the URL makes every request a POST with a body of that size.
function init(args)
  local bytes = tonumber(args[1] or "0")
  if bytes > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", bytes)
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nREPORT {"units":%d,"calls":%d,"seconds":%.6f,"p50Us":%d,"p99Us":%d,"errors":%d}\n',
    summary.requests, summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
