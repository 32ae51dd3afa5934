import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Clock } from "../core/clock.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import type { FederationPartner } from "../core/federation.ts";
import type { IdentitySource, JwtBundle, TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import type { FederatedBundle } from "./federation/federated-bundle.ts";
import { createFederationClient } from "./federation/federation-client.ts";
import { readBundles, readFile } from "./identity-file.ts";
import { createIdentityHolder, type IdentityMaterial, logWarning, sourceOf } from "./identity-holder.ts";
import type { IdentityLog } from "./identity-log.ts";
import { readPrivateKey, verifyOwnSvid } from "./own-svid.ts";
import { encodePem, parsePem, parsePemCertificates } from "./pem.ts";

/** identity.files of the configuration: absolute paths. */
export interface FilesSourceOptions {
  /** PEM chain, leaf first. */
  readonly svid: string;
  /** PEM private key. */
  readonly key: string;
  /** Trust domain → PEM certificates or SPIFFE bundle JSON. */
  readonly bundles: ReadonlyMap<TrustDomain, string>;
  /** Partners whose bundles come from their bundle endpoints. */
  readonly federatesWith?: readonly FederationPartner[];
  /** Where partners' last good bundles are kept; undefined: nowhere. */
  readonly stateFolder?: string | undefined;
}

/** Files of one update come within this time of each other. */
const SETTLE_MS = 100;
/** Watching misses changes on some file systems. */
const POLL_MS = 10_000;

/** Identity from files. All files are read as one state: a pair that does not fit, or a file half-written, changes
 *  nothing but the state's problem, and is read again at the next change or poll. Folders are watched rather than files,
 *  so that renames and the symlink swap of Kubernetes volumes are seen. */
export function createFilesSource(options: FilesSourceOptions, clock: Clock, log: IdentityLog): IdentitySource {
  const holder = createIdentityHolder(clock, log);
  const folders = new Set([options.svid, options.key, ...options.bundles.values()].map(dirname));
  const { federatesWith: partners = [], stateFolder } = options;
  const federation =
    partners.length === 0 ? undefined : createFederationClient({ partners, stateFolder, bundleOf, clock, log });
  const names = new Set([options.svid, options.key, ...options.bundles.values()].map((path) => basename(path)));
  const watchers = new Map<string, FSWatcher>();
  let cancelReload: (() => void) | undefined;
  let cancelPoll: () => void = () => undefined;
  let warnedOfKey = false;

  /** The bundle of a domain that is no partner. */
  function bundleOf(trustDomain: TrustDomain): TrustBundle | undefined {
    const { state } = holder;
    return "snapshot" in state ? state.snapshot.bundles.get(trustDomain) : undefined;
  }

  const load = (): void => {
    let read: ReturnType<typeof readMaterial>;
    try {
      read = readMaterial(options, federation?.bundles ?? new Map(), clock.nowMs());
    } catch (error) {
      const problem = asCountersignError(error, "E_IDENTITY_FILE", "identity files cannot be read");
      if (problem.code === "E_BUNDLE_EMPTY") holder.revoke(problem);
      else holder.fail(problem);
      return;
    }
    // outside the try: what a listener throws is no fault of the files
    const { material, keyMode } = read;
    if (!warnedOfKey && (keyMode & 0o007) !== 0) {
      warnedOfKey = true;
      logWarning(log, { code: "W_KEY_PERMISSIONS", message: `${options.key} can be used by every local user` });
    }
    holder.serve(material);
  };
  const onChange = (): void => {
    cancelReload ??= clock.after(SETTLE_MS, () => {
      cancelReload = undefined;
      watchFolders();
      load();
    });
  };
  const watchFolders = (): void => {
    for (const folder of folders) if (!watchers.has(folder)) watchFolder(folder);
  };
  const watchFolder = (folder: string): void => {
    const drop = (): void => {
      watchers.get(folder)?.close();
      watchers.delete(folder);
    };
    try {
      const watcher = watch(folder, { persistent: false }, (event, name) => {
        // A folder that is replaced leaves the watcher on the deleted inode: the next load watches anew.
        if (event === "rename" && name !== null && folder.endsWith(`/${name}`)) drop();
        // Something else in the folder that is being written to, an audit log say, is no reason to read everything again.
        if (event === "change" && name !== null && !names.has(name)) return;
        onChange();
      });
      watcher.on("error", drop);
      watchers.set(folder, watcher);
    } catch {
      // The folder is not there yet; load says so, and the poll tries again.
    }
  };
  const poll = (): void => {
    watchFolders();
    load();
    cancelPoll = clock.after(POLL_MS, poll);
  };
  poll();
  federation?.subscribe(load);
  const close = (): void => {
    federation?.close();
    cancelPoll();
    cancelReload?.();
    for (const watcher of watchers.values()) watcher.close();
    watchers.clear();
  };
  return sourceOf(
    `files ${options.svid}`,
    holder,
    close,
    federation === undefined ? {} : { federation: () => federation.status },
  );
}

function readMaterial(
  options: FilesSourceOptions,
  federated: ReadonlyMap<TrustDomain, FederatedBundle>,
  nowMs: number,
): { material: IdentityMaterial; keyMode: number } {
  const bundles = new Map<TrustDomain, TrustBundle>();
  const jwtBundles = new Map<TrustDomain, JwtBundle>();
  for (const [trustDomain, path] of options.bundles) {
    const { bundle, jwtBundle } = readBundles(trustDomain, path);
    bundles.set(trustDomain, bundle);
    if (jwtBundle !== undefined) jwtBundles.set(trustDomain, jwtBundle);
  }
  for (const [trustDomain, { trustBundle, jwtBundle }] of federated) {
    bundles.set(trustDomain, trustBundle);
    jwtBundles.set(trustDomain, jwtBundle);
  }
  const chainDer = parsePemCertificates(readFile(options.svid).bytes.toString("utf8"), options.svid);
  const keyFile = readFile(options.key);
  const key = readPrivateKey(onlyKey(keyFile.bytes, options.key), "pem");
  const svid = verifyOwnSvid({ chainDer, key, hint: "" }, bundles, nowMs);
  return { material: { svids: [svid], bundles, jwtBundles }, keyMode: keyFile.mode };
}

/** The one private key of a file that may hold more (EC PARAMETERS, certificates). */
function onlyKey(bytes: Buffer, path: string): Buffer {
  const keys = parsePem(bytes.toString("utf8"), path).filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const [key] = keys;
  if (key === undefined || keys.length > 1)
    throw new CountersignError("E_IDENTITY_KEY", `${path} has ${keys.length} private keys, not one`);
  return Buffer.from(encodePem(key.label, key.der));
}
