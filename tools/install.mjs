// Installs what is missing, so that `npm test` and `npm run demo` work on a fresh clone. Runs on the system's Node (20+).
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const stamp = join(root, "node_modules", ".countersign-lock");
const lock = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .digest("hex");
const installed = existsSync(stamp) && readFileSync(stamp, "utf8") === lock;
if (!installed) {
  console.error("countersign: installing dependencies (once) …");
  const run = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, npm_config_omit: "", NODE_ENV: "" },
  });
  if (run.status !== 0) {
    console.error("countersign: `npm ci` failed; the lines above say why.");
    process.exit(run.status ?? 1);
  }
  writeFileSync(stamp, lock);
}
await import("./link-node.mjs");
if (!installed) {
  const node = join(root, "node_modules", ".bin", "node");
  const run = spawnSync(node, ["--version"], { encoding: "utf8" });
  if (run.status !== 0) {
    rmSync(stamp, { force: true });
    console.error(`countersign: ${node} does not run: ${(run.stderr ?? run.error?.message ?? "").trim()}`);
    if (/libatomic/.test(run.stderr ?? ""))
      console.error("countersign: fix: apt-get install libatomic1 (or your system's libatomic)");
    process.exit(1);
  }
}
