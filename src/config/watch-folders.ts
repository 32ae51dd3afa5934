import { type FSWatcher, watch } from "node:fs";

export interface FolderWatchers {
  /** Makes the watched folders exactly these. */
  set(folders: ReadonlySet<string>): void;
}

/** File-system events of a changing set of folders. Only a hint to look again: where the system sends none (network
 *  mounts, too many watches) nothing is reported, so a poll must stand behind it. `onEvent` gets the entry's name. */
export function watchFolders(onEvent: (name: string | null) => void): FolderWatchers {
  const watchers = new Map<string, FSWatcher>();
  const drop = (folder: string): void => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };
  return {
    set(folders) {
      for (const folder of watchers.keys()) if (!folders.has(folder)) drop(folder);
      for (const folder of folders) {
        if (watchers.has(folder)) continue;
        try {
          const watcher = watch(folder, { persistent: false }, (_event, name) => onEvent(name));
          watcher.on("error", () => drop(folder)); // the next `set` tries again
          watchers.set(folder, watcher);
        } catch {
          // No events here: the poll remains.
        }
      }
    },
  };
}
