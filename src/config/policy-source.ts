import type { Dirent } from "node:fs";
import { opendir, realpath, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { CountersignError, CountersignErrors, type SourcePosition } from "../core/errors.ts";
import { fileProblem, readTextFile } from "./read-text-file.ts";

/** A file or folder of policies, with the place in the configuration that names it. */
export interface PolicyPath {
  readonly path: string;
  readonly at: SourcePosition;
}

export interface SourceFile {
  readonly file: string;
  readonly text: string;
}

/** What the paths stand for at one moment. `folders` are those that were looked into. */
export interface FileListing {
  readonly files: readonly ListedFile[];
  readonly folders: readonly string[];
}

interface ListedFile {
  readonly file: string;
  readonly at: SourcePosition;
  /** By its name a table of tests that lies among policies. */
  readonly isTest: boolean;
}

const MAX_FILES = 10_000;
const MAX_FOLDERS = 1000;
const MAX_FILE_BYTES = 4 * 2 ** 20;
const MAX_TOTAL_CHARS = 64 * 2 ** 20;
const EXTENSIONS: ReadonlySet<string> = new Set([".yaml", ".yml"]);

/** Reads all policy files: those named, and `*.yaml` and `*.yml` of named folders and of the folders inside, sorted by
 *  name. Names that start with a dot are passed over: editors' swap files, and the `..data` of a Kubernetes mount, whose
 *  files are reached through the links beside it. Tables of tests, `*.test.yaml`, are left out of folders. Bounds: 10 000 files of 4 MiB, 64 MiB in all.
 *  Throws CountersignErrors (E_CONFIG_FILE) with everything that cannot be read. */
export async function readPolicyFiles(paths: readonly PolicyPath[]): Promise<readonly SourceFile[]> {
  const { files } = await listPolicyFiles(paths);
  const read: SourceFile[] = [];
  const errors: CountersignError[] = [];
  let total = 0;
  for (const { file, at, isTest } of files) {
    try {
      const text = await readTextFile(file, MAX_FILE_BYTES, at);
      total += text.length;
      if (total > MAX_TOTAL_CHARS)
        throw tooMuch(`the policy files are larger than ${MAX_TOTAL_CHARS} characters in all`, at);
      // A policy under a test's name is a policy: nothing that could deny is passed over.
      if (!isTest || text.includes("apiVersion")) read.push({ file, text });
    } catch (error) {
      if (!(error instanceof CountersignError)) throw error;
      errors.push(error);
      if (total > MAX_TOTAL_CHARS) break;
    }
  }
  if (errors.length > 0) throw new CountersignErrors(errors);
  return read;
}

/** Which files the paths stand for now. A file that two paths lead to is listed once. Throws CountersignErrors. */
export async function listPolicyFiles(paths: readonly PolicyPath[]): Promise<FileListing> {
  const search: Search = { files: [], folders: [], seen: new Set() };
  const errors: CountersignError[] = [];
  for (const { path, at } of paths) {
    try {
      await find(path, true, at, search);
    } catch (error) {
      errors.push(
        error instanceof CountersignError
          ? error
          : new CountersignError("E_CONFIG_FILE", `${path} ${fileProblem(error)}`, { at, cause: error }),
      );
    }
  }
  if (errors.length > 0) throw new CountersignErrors(errors);
  return search;
}

interface Search {
  readonly files: ListedFile[];
  readonly folders: string[];
  /** Real paths, so that a link to a folder above ends the walk, and nothing is read twice. */
  readonly seen: Set<string>;
}

async function find(path: string, named: boolean, at: SourcePosition, search: Search): Promise<void> {
  const isFolder = (await stat(path)).isDirectory();
  if (!isFolder && !named && !isPolicyFileName(path)) return;
  const real = await realpath(path);
  if (search.seen.has(real)) return;
  search.seen.add(real);
  if (!isFolder) {
    if (search.files.length >= MAX_FILES) throw tooMuch(`there are more than ${MAX_FILES} policy files`, at);
    search.files.push({ file: path, at, isTest: !named && isPolicyTestName(path) });
    return;
  }
  if (search.folders.length >= MAX_FOLDERS) throw tooMuch(`there are more than ${MAX_FOLDERS} folders of policies`, at);
  search.folders.push(path);
  for (const name of await namesIn(path, at)) await find(join(path, name), false, at, search);
}

async function namesIn(folder: string, at: SourcePosition): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const entry of await opendir(folder)) {
    if (!isCandidate(entry)) continue;
    names.push(entry.name);
    if (names.length > MAX_FILES) throw tooMuch(`${folder} has more than ${MAX_FILES} files`, at);
  }
  return names.toSorted();
}

function isCandidate(entry: Dirent): boolean {
  if (entry.name.startsWith(".")) return false;
  return entry.isDirectory() || entry.isSymbolicLink() || isPolicyFileName(entry.name);
}

/** By its ending, `.yaml` or `.yml`. */
export function isPolicyFileName(name: string): boolean {
  return EXTENSIONS.has(extname(name));
}

/** By its ending, `.test.yaml` or `.test.yml`: a table for `policy test`. */
export function isPolicyTestName(name: string): boolean {
  return /\.test\.ya?ml$/.test(name);
}

function tooMuch(message: string, at: SourcePosition): CountersignError {
  return new CountersignError("E_CONFIG_FILE", message, { at, fix: "name a smaller folder, or merge files" });
}
