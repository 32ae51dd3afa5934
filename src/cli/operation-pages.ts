import { isDeepStrictEqual } from "node:util";
import { type AdminProviders, type RunningAdmin, startAdmin } from "../admin/admin.ts";
import type { Address, SidecarConfig } from "../config/sidecar-config.ts";

type Addresses = Pick<SidecarConfig, "admin" | "health" | "metrics">;
type PageName = keyof Addresses;

/** What a reload makes of the pages: open already, and in force once it is committed. */
export interface PreparedPages {
  /** Closes the pages that are not wanted any more. */
  commit(): void;
  /** Takes the new pages back. */
  abandon(): Promise<void>;
}

/** The pages for people and programs that look at a running sidecar, each on an address of its own. */
export interface OperationPages {
  /** Opens what `next` has elsewhere than now. Rejects with CountersignError E_LISTEN, and then changes nothing. */
  prepare(next: Addresses): Promise<PreparedPages>;
  close(): Promise<void>;
}

const names: readonly PageName[] = ["admin", "health", "metrics"];

/** `onListening`: a page was opened, at this address. Rejects with CountersignError E_LISTEN; then none is open. */
export async function openOperationPages(
  addresses: Addresses,
  providers: AdminProviders,
  onListening: (name: PageName, address: Address) => void,
): Promise<OperationPages> {
  let current: Addresses = { admin: undefined, health: undefined, metrics: undefined };
  const open = new Map<PageName, RunningAdmin>();

  async function prepare(next: Addresses): Promise<PreparedPages> {
    const changed = names.filter((name) => !isDeepStrictEqual(current[name], next[name]));
    const opened = new Map<PageName, RunningAdmin>();
    const closeAll = async (): Promise<void> => {
      await Promise.all(Array.from(opened.values(), (page) => page.close()));
    };
    try {
      for (const name of changed) {
        const address = next[name];
        if (address === undefined) continue;
        const only = { admin: undefined, health: undefined, metrics: undefined, [name]: address };
        // oxlint-disable-next-line no-await-in-loop -- two new pages may have been given one address: the second one fails
        opened.set(name, await startAdmin(only, providers));
      }
    } catch (error) {
      await closeAll();
      throw error;
    }
    return {
      commit() {
        current = next;
        for (const name of changed) {
          void open.get(name)?.close(); // nobody waits for the last answer of a page that is gone
          open.delete(name);
          const page = opened.get(name);
          const address = page?.addresses[name];
          if (page === undefined || address === undefined) continue;
          open.set(name, page);
          onListening(name, address);
        }
      },
      abandon: closeAll,
    };
  }

  (await prepare(addresses)).commit();
  return {
    prepare,
    async close() {
      await Promise.all(Array.from(open.values(), (page) => page.close()));
    },
  };
}
