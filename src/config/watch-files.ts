import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Clock } from "../core/clock.ts";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import { MAX_CONFIG_BYTES } from "./load-sidecar-config.ts";
import {
  type FileListing,
  isPolicyFileName,
  listPolicyFiles,
  type PolicyPath,
  readPolicyFiles,
  type SourceFile,
} from "./policy-source.ts";
import { readTextFile } from "./read-text-file.ts";
import { losesSomething, sameFiles } from "./source-changes.ts";
import { watchFolders } from "./watch-folders.ts";

/** What a watch reports: a whole set that stood still, or why there is none. The receiver keeps the old one then. */
export type FilesChange =
  | { readonly kind: "read"; readonly files: readonly SourceFile[] }
  | { readonly kind: "failed"; readonly error: CountersignErrors };

export interface FilesWatch {
  /** Reads again now, without the wait for what vanished, and reports also when nothing changed (SIGHUP).
   *  Resolves after the report. */
  reloadNow(): Promise<void>;
}

export interface FilesWatchOptions {
  /** What was read at start: only a difference to it is reported. */
  readonly initial: readonly SourceFile[];
  readonly clock: Clock;
  readonly onChange: (change: FilesChange) => void;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/** A set is believed when two reads this far apart are equal: a folder that is being written is not a set. */
const SETTLE_MS = 200;
/** How long something must be gone before its absence counts: editors and deployments delete, then write. */
const VANISHED_MS = 2000;
/** What sends no events (network mounts, targets of links) is looked at this often. */
const POLL_MS = 5000;

/** Watches policy files, which are found and read as readPolicyFiles does. */
export function watchPolicyFiles(paths: readonly PolicyPath[], options: FilesWatchOptions): FilesWatch {
  return watchSource(
    { named: paths.map(({ path }) => path), list: () => listPolicyFiles(paths), read: () => readPolicyFiles(paths) },
    options,
  );
}

/** Watches one configuration file; changes carry exactly that file. */
export function watchConfigFile(file: string, options: FilesWatchOptions): FilesWatch {
  const source = {
    named: [file],
    list: () => Promise.resolve({ files: [{ file, at: { file }, isTest: false }], folders: [] }),
    read: async () => [{ file, text: await readTextFile(file, MAX_CONFIG_BYTES) }],
  };
  return watchSource(source, options);
}

interface Source {
  /** The paths as configured: their parent folders are watched too. */
  readonly named: readonly string[];
  list(): Promise<FileListing>;
  read(): Promise<readonly SourceFile[]>;
}

/** `seen` was taken before the read: if the files change in between, the next look differs from it. */
interface Reading {
  readonly seen: string;
  readonly change: FilesChange;
}

function watchSource(source: Source, { initial, clock, onChange, signal }: FilesWatchOptions): FilesWatch {
  let reported: FilesChange = { kind: "read", files: initial };
  let lastGood = initial;
  /** Of the files that `reported` holds; undefined when only a read can tell. */
  let fingerprint: string | undefined;
  /** Something may have changed since the last look. */
  let disturbed = true;
  let running = false;
  /** Callers of reloadNow that wait for a report. */
  let hurried: (() => void)[] = [];
  let interruptWait = (): void => {};
  let cancelPoll = (): void => {};

  const folders = watchFolders((name) => {
    if (isOfInterest(name, source.named)) disturb();
  });

  /** False when it was cut short. */
  const wait = (ms: number): Promise<boolean> =>
    new Promise((resolve) => {
      const cancel = clock.after(ms, () => resolve(true));
      interruptWait = () => {
        cancel();
        resolve(false);
      };
    });

  const read = async (): Promise<Reading> => {
    const seen = await look();
    try {
      return { seen, change: { kind: "read", files: await source.read() } };
    } catch (error) {
      return { seen, change: { kind: "failed", error: asErrors(error) } };
    }
  };

  /** Reads until two reads agree, then reports. */
  const settle = async (): Promise<void> => {
    let first = await read();
    while (!signal.aborted) {
      if (hurried.length === 0 && sameChange(first.change, reported)) break;
      const patient = hurried.length === 0 && losesTo(lastGood, first.change);
      const waited = await wait(patient ? VANISHED_MS : SETTLE_MS);
      const second = await read();
      const agreed = waited && !signal.aborted && sameChange(first.change, second.change);
      first = second;
      if (!agreed) continue;
      report(second.change);
      break;
    }
    // What was seen before a failed read says nothing about when it will succeed: then each look is followed by a read.
    fingerprint = first.change.kind === "read" ? first.seen : undefined;
  };

  const report = (change: FilesChange): void => {
    reported = change;
    if (change.kind === "read") lastGood = change.files;
    const waiting = hurried;
    hurried = [];
    onChange(change);
    for (const done of waiting) done();
  };

  const run = async (): Promise<void> => {
    if (running) return;
    running = true;
    while (!signal.aborted && (disturbed || hurried.length > 0)) {
      disturbed = false;
      const unchanged = fingerprint !== undefined && fingerprint === (await look());
      if (!unchanged || hurried.length > 0) await settle();
    }
    running = false;
    if (signal.aborted) for (const done of hurried.splice(0)) done();
  };

  const disturb = (): void => {
    disturbed = true;
    void run(); // never rejects: look and read catch what the file system throws
  };

  /** What can be told of the files without reading them. Also keeps the watched folders up to date. */
  const look = async (): Promise<string> => {
    try {
      const listing = await source.list();
      if (!signal.aborted) folders.set(new Set([...listing.folders, ...source.named.map((path) => dirname(path))]));
      return (await Promise.all(listing.files.map(({ file }) => fingerprintOf(file)))).join("\n");
    } catch (error) {
      return String(error);
    }
  };

  const poll = (): void => {
    disturb();
    cancelPoll = clock.after(POLL_MS, poll);
  };

  const stop = (): void => {
    cancelPoll();
    interruptWait();
    folders.set(new Set());
  };
  if (!signal.aborted) {
    signal.addEventListener("abort", stop, { once: true });
    poll();
  }

  return {
    reloadNow: () =>
      new Promise((resolve) => {
        if (signal.aborted) return resolve();
        hurried.push(resolve);
        interruptWait();
        void run();
      }),
  };
}

/** Folders hold other files too, such as an audit log that is written all the time. */
function isOfInterest(name: string | null, named: readonly string[]): boolean {
  if (name === null || name.startsWith("..") || !name.includes(".")) return true;
  return isPolicyFileName(name) || named.some((path) => basename(path) === name);
}

async function fingerprintOf(file: string): Promise<string> {
  const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
  return `${file} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}

function sameChange(a: FilesChange, b: FilesChange): boolean {
  if (a.kind === "failed") return b.kind === "failed" && a.error.message === b.error.message;
  return b.kind === "read" && sameFiles(a.files, b.files);
}

function losesTo(current: readonly SourceFile[], next: FilesChange): boolean {
  return next.kind === "read" && losesSomething(current, next.files);
}

function asErrors(error: unknown): CountersignErrors {
  if (error instanceof CountersignErrors) return error;
  const single =
    error instanceof CountersignError
      ? error
      : new CountersignError("E_CONFIG_FILE", "the files cannot be read", { cause: error });
  return new CountersignErrors([single]);
}
