import { CountersignError } from "../../core/errors.ts";
import { type EntryFinding, type EntryRules, findEntryProblems, isWarning } from "./check-entries.ts";
import { type Entry, entryIdOf } from "./entries.ts";

/** Most entries that can be added to a running issuer. */
export const MAX_ADDED_ENTRIES = 1000;

/** An entry, where it comes from, and whether it is in force. */
export interface ListedEntry {
  readonly entryId: string;
  readonly entry: Entry;
  /** Of issuer.yaml, or added while the issuer ran. */
  readonly source: "file" | "added";
  /** Why nothing is issued for it; undefined: it is in force. Only added entries can be suspended: the file comes first. */
  readonly suspended: string | undefined;
}

/** The issuer's entries: those of the file, and those added while it ran. */
export interface EntryBook {
  /** Those in force, the file's first. */
  readonly entries: readonly Entry[];
  readonly listed: readonly ListedEntry[];
  /** Throws CountersignError E_ISSUER_ENTRY when it breaks a rule of the file, and what `save` throws. */
  add(entry: Entry): { readonly added: ListedEntry; readonly warnings: readonly string[] };
  /** By its entry ID. Throws CountersignError E_ISSUER_ENTRY when there is none or it is the file's. */
  remove(entryId: string): ListedEntry;
  /** A new file: added entries that it contradicts are suspended. */
  setFile(entries: readonly Entry[], rules: EntryRules): void;
}

export interface EntryBookOptions {
  readonly file: readonly Entry[];
  readonly rules: EntryRules;
  /** As they were saved last. */
  readonly added: readonly Entry[];
  /** Keeps the added entries; returns when they are on disk. */
  readonly save: (added: readonly Entry[]) => void;
}

export function createEntryBook(options: EntryBookOptions): EntryBook {
  let { file, rules, added } = options;
  let listed = list();

  function list(): readonly ListedEntry[] {
    const inForce: Entry[] = [...file];
    const found = file.map((entry): ListedEntry => listedAs(entry, "file", undefined));
    for (const entry of added) {
      const [problem] = errorsOf(inForce, entry, rules);
      if (problem === undefined) inForce.push(entry);
      found.push(listedAs(entry, "added", problem?.message));
    }
    return found;
  }

  return {
    get entries() {
      return listed.filter(({ suspended }) => suspended === undefined).map(({ entry }) => entry);
    },
    get listed() {
      return listed;
    },
    add(entry) {
      if (added.length >= MAX_ADDED_ENTRIES) throw refusal(`there are ${MAX_ADDED_ENTRIES} added entries already`);
      const all = listed.map((one) => one.entry);
      const [problem] = errorsOf(all, entry, rules);
      if (problem !== undefined) throw refusal(problem.message, problem.fix);
      const next = [...added, entry];
      options.save(next);
      added = next;
      listed = list();
      const warnings = findingsOf(all, entry, rules).map(({ code, message, fix }) => `${code} ${message}; fix: ${fix}`);
      return { added: listedAs(entry, "added", undefined), warnings };
    },
    remove(entryId) {
      const one = listed.find((candidate) => candidate.entryId === entryId);
      if (one === undefined) throw refusal(`there is no entry ${entryId}`);
      if (one.source === "file") throw refusal(`entry ${entryId} stands in the file`, "remove it there and reload");
      const next = added.filter((entry) => entry !== one.entry);
      options.save(next);
      added = next;
      listed = list();
      return one;
    },
    setFile(entries, newRules) {
      file = entries;
      rules = newRules;
      listed = list();
    },
  };
}

function listedAs(entry: Entry, source: ListedEntry["source"], suspended: string | undefined): ListedEntry {
  return { entryId: entryIdOf(entry), entry, source, suspended };
}

function findingsOf(others: readonly Entry[], entry: Entry, rules: EntryRules): readonly EntryFinding[] {
  return findEntryProblems([...others, entry], rules).filter(({ index }) => index === others.length);
}

function errorsOf(others: readonly Entry[], entry: Entry, rules: EntryRules): readonly EntryFinding[] {
  return findingsOf(others, entry, rules).filter(({ code }) => !isWarning(code));
}

function refusal(message: string, fix?: string): CountersignError {
  return new CountersignError("E_ISSUER_ENTRY", message, { fix });
}
