import { type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { findPlace } from "../config/find-place.ts";
import type { Address, SidecarConfig } from "../config/sidecar-config.ts";
import type { Warning } from "../core/errors.ts";

const GROUP_OR_OTHERS_READ = 0o044;

/** What the file system tells of a configuration that is valid in itself: files that are not there yet, folders that
 *  nothing can be created in, keys that others can read. Warnings only, since `check` may run elsewhere than `run`. */
export function fileWarnings(config: SidecarConfig, text: string): readonly Warning[] {
  const found: Warning[] = [];
  const warn = (code: `W_${string}`, path: readonly (string | number)[], message: string, fix: string): void => {
    found.push({ code, message, at: findPlace(text, config.file, path), fix });
  };
  const needsFile = (file: string, path: readonly string[]): Stats | undefined => {
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats === undefined) warn("W_CONFIG_FILE", path, `${file} does not exist yet`, "create it before the start");
    return stats;
  };
  const needsFolder = (file: string, path: readonly (string | number)[]): void => {
    const folder = dirname(file);
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
    warn("W_CONFIG_FOLDER", path, `the folder ${folder} does not exist yet`, "create it before the start");
  };
  const needsSocketFolder = (address: Address | undefined, path: readonly (string | number)[]): void => {
    if (address?.kind === "unix") needsFolder(address.path, path);
  };

  const { identity } = config;
  if (identity.kind === "files") {
    needsFile(identity.svid, ["identity", "files", "svid"]);
    for (const [trustDomain, file] of identity.bundles) needsFile(file, ["identity", "files", "bundles", trustDomain]);
    const key = needsFile(identity.key, ["identity", "files", "key"]);
    if (key !== undefined && (key.mode & GROUP_OR_OTHERS_READ) !== 0) {
      const message = `the private key ${identity.key} can be read by other users`;
      warn("W_CONFIG_KEY_READABLE", ["identity", "files", "key"], message, `chmod 600 ${identity.key}`);
    }
  }
  for (const [index, sink] of config.audit.sinks.entries()) {
    if (sink.kind === "file") needsFolder(sink.path, ["audit", "sinks", index, "file", "path"]);
  }
  for (const [index, { listen }] of config.inbound.entries()) needsSocketFolder(listen, ["inbound", index, "listen"]);
  for (const [index, { listen }] of config.outboundAsWritten.entries()) {
    needsSocketFolder(listen, ["outbound", index, "listen"]);
  }
  needsSocketFolder(config.admin, ["admin", "listen"]);
  needsSocketFolder(config.health, ["health", "listen"]);
  needsSocketFolder(config.metrics, ["metrics", "listen"]);
  return found;
}
