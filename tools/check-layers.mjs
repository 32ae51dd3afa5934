// Checks that imports between the rooms of src/ point one way (ARCHITECTURE.md), and that the rooms without I/O own no
// I/O, timer or clock. A file that no room knows is itself a violation: the check cannot pass by seeing nothing.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const below = ["config", "authz", "certs", "audit", "telemetry", "sys", "core"];
const codecs = ["proxy/http1", "proxy/http2", "proxy/tcp", "proxy/forward/wire", "proxy/proxy-protocol"];
/** Longest prefix wins. `may` lists the rooms that a room may import besides itself. */
export const rooms = {
  core: { may: [], pure: true },
  authz: { may: ["core"], pure: true },
  "proxy/http1": { may: ["core"], pure: true },
  // both versions carry the same messages (RFC 9110): fields, authorities and the output buffer are those of HTTP/1.1
  "proxy/http2": { may: ["core", "proxy/http1"], pure: true },
  "proxy/tcp": { may: ["core"], pure: true },
  "proxy/forward/wire": { may: ["core"], pure: true },
  "proxy/proxy-protocol": { may: ["core"], pure: true },
  "policy-tools": { may: ["core", "authz"], pure: true },
  config: { may: ["core"] },
  certs: { may: ["core"] },
  audit: { may: ["core"] },
  telemetry: { may: ["core"] },
  sys: { may: ["core"] },
  "certs/issuer": { may: below },
  proxy: { may: [...below, ...codecs] },
  admin: { may: below },
  cli: { may: [...below, ...codecs, "certs/issuer", "proxy", "admin", "policy-tools"] },
};
const roomNames = Object.keys(rooms).sort((a, b) => b.length - a.length);
const ioModules =
  /^(?:node:)?(?:fs|net|tls|dgram|dns|http|https|http2|child_process|worker_threads|timers|process|os|readline|cluster|ffi)(?:\/|$)|^(?:undici|@grpc\/|pino|prom-client)/;
const clockOrTimer =
  /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\s*\(|\bDate\.now\s*\(|\bnew Date\(\s*\)|\bperformance\.now\s*\(|\bprocess\.hrtime\b|\bMath\.random\s*\(/;

export function roomOf(path) {
  return roomNames.find((room) => path.startsWith(`${room}/`));
}

/** Violations of one source file; `path` is relative to src/. */
export function violationsOf(path, text) {
  const found = [];
  const room = roomOf(path);
  if (room === undefined) return [`${path}: belongs to no room of src/`];
  const isTest = path.endsWith(".test.ts");
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  for (const match of code.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']/g)) {
    const target = match[1];
    if (target.startsWith(".")) {
      const inside = relative("/src", resolve("/src", dirname(path), target));
      if (inside.startsWith("..")) {
        if (!isTest || !inside.startsWith("../test/")) found.push(`${path}: imports ${target}, outside src/`);
        continue;
      }
      const other = roomOf(inside);
      if (other === undefined) found.push(`${path}: imports ${target}, which belongs to no room`);
      else if (other !== room && !rooms[room].may.includes(other))
        found.push(`${path}: ${room} may not import ${other} (${target})`);
    } else if (rooms[room].pure && !isTest && ioModules.test(target)) {
      found.push(`${path}: ${room} does no I/O, yet imports ${target}`);
    }
  }
  if (rooms[room].pure && !isTest) {
    const clock = clockOrTimer.exec(code);
    if (clock !== null) found.push(`${path}: ${room} owns no timer, clock or randomness, yet uses ${clock[0]}`);
  }
  return found;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const src = join(import.meta.dirname, "..", "src");
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  const found = files.flatMap((file) =>
    violationsOf(file.split("\\").join("/"), readFileSync(join(src, file), "utf8")),
  );
  for (const line of found) console.error(line);
  console.log(`layers: ${files.length} files, ${found.length} violations`);
  process.exitCode = found.length > 0 || files.length === 0 ? 1 : 0;
}
