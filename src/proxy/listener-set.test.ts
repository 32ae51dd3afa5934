import { describe, expect, it } from "vitest";
import { parseSidecarConfig } from "../config/load-sidecar-config.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError } from "../core/errors.ts";
import { wantedListeners } from "./listener-configs.ts";
import { isSame, ListenerSet, type OpenListener, type OpenListeners } from "./listener-set.ts";
import type { OpenConnection } from "./open-connection.ts";

const HEAD = `workload: { namespace: shop, labels: { app: orders } }
identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }
inbound:
`;

/** Inbounds as `name:port`, each with its own app. */
function configOf(...inbounds: string[]): SidecarConfig {
  const lines = inbounds.map((one, at) => {
    const [name, port] = one.split(":");
    return `  - { name: ${name}, listen: "127.0.0.1:${port}", app: "127.0.0.1:${8000 + at}" }\n`;
  });
  return parseSidecarConfig(HEAD + lines.join(""), "/test/countersign.yaml", {}).config;
}

/** Opens listeners that are only written down: what happens to each is in `said`, and a port in `taken` can't be opened. */
function world(): {
  readonly set: ListenerSet;
  readonly open: OpenListeners;
  readonly said: string[];
  readonly taken: Set<number>;
} {
  const said: string[] = [];
  const taken = new Set<number>();
  const open: OpenListeners = async (config, kept) => {
    await Promise.resolve();
    return wantedListeners(config).map((wanted) => {
      const { name, listen } = wanted.config;
      const known = kept.find((one) => isSame(one, wanted));
      if (known !== undefined) return known;
      const port = listen.kind === "tcp" ? listen.port : 0;
      if (taken.has(port)) throw new CountersignError("E_LISTEN", `${port} is taken`);
      said.push(`${name} opens ${port}`);
      return opened(wanted, (what) => said.push(`${name} ${what}`));
    });
  };
  return { set: new ListenerSet(), open, said, taken };
}

/** With one connection, which stays until it is cut. */
function opened(wanted: Pick<OpenListener, "direction" | "config">, say: (what: string) => void): OpenListener {
  const ignore = (): void => undefined;
  const connections: OpenConnection[] = [];
  const connection = { onIdentity: ignore, onIdentityLost: ignore, onPolicy: ignore, onTick: ignore, calls: 2 };
  connections.push({ ...connection, drain: () => say("drains"), cut: () => void connections.splice(0) });
  const status = { endpoints: [], connections: 0, active: 0, pending: 0, limited: 0, problems: [] };
  const pool = {
    size: 0,
    status,
    onIdentity: ignore,
    end: ignore,
    expire: ignore,
    close: () => say("closes its pool"),
  };
  return {
    ...wanted,
    listener: {
      name: wanted.config.name,
      direction: wanted.direction,
      address: wanted.config.listen,
      connections: {
        get size() {
          return connections.length;
        },
        list: () => [...connections],
      },
      stopAccepting: () => say("stops"),
      adopt: () => false,
      accept() {
        throw new TypeError("nobody connects");
      },
    },
    served: { pool, retune: () => say("is tuned") },
  };
}

function names(listeners: readonly OpenListener[]): string[] {
  return listeners.map(({ config }) => config.name);
}

async function change(test: ReturnType<typeof world>, before: SidecarConfig, next: SidecarConfig): Promise<void> {
  const putInForce = await test.set.prepare(test.open, before, next);
  putInForce();
}

describe("the listeners of a sidecar", () => {
  it("that a change leaves alone go on; others are opened before, and what is gone ends with its connections", async () => {
    const test = world();
    const before = configOf("a:1", "b:2");
    await change(test, before, before);
    test.said.length = 0;
    await change(test, before, configOf("a:1", "c:3"));
    expect(test.said).toEqual(["c opens 3", "a is tuned", "b stops", "b drains", "b closes its pool"]);
    expect(names(test.set.inForce)).toEqual(["a", "c"]);
    expect(names(test.set.all)).toEqual(["a", "c", "b"]);
    expect(test.set.calls).toBe(6);
    test.set.forgetEnded();
    expect(names(test.set.all)).toEqual(["a", "c", "b"]);
    for (const one of test.set.all.at(-1)?.listener.connections.list() ?? []) one.cut("E_DRAIN_CUT", "");
    test.set.forgetEnded();
    expect(names(test.set.all)).toEqual(["a", "c"]);
  });

  it("hand an address over: who loses it lets go of it first", async () => {
    const test = world();
    const before = configOf("a:1");
    await change(test, before, before);
    test.said.length = 0;
    const putInForce = await test.set.prepare(test.open, before, configOf("b:1"));
    expect(test.said).toEqual(["a stops", "b opens 1"]);
    expect(names(test.set.inForce)).toEqual(["a"]);
    putInForce();
    expect(names(test.set.inForce)).toEqual(["b"]);
  });

  it("are what they were when one can't be opened, also at an address that was let go of", async () => {
    const test = world();
    const before = configOf("a:1", "b:2");
    await change(test, before, before);
    test.said.length = 0;
    test.taken.add(3);
    await expect(change(test, before, configOf("a:1", "c:3"))).rejects.toThrow("3 is taken");
    expect(test.said).toEqual([]);
    await expect(change(test, before, configOf("a:1", "c:2", "d:3"))).rejects.toThrow("3 is taken");
    expect(test.said).toEqual(["b stops", "c opens 2", "b stops", "b drains", "b closes its pool", "b opens 2"]);
    expect(names(test.set.inForce)).toEqual(["a", "b"]);
    expect(names(test.set.all)).toEqual(["a", "b", "b"]);
  });

  it("that could not be opened again are opened by the next change", async () => {
    const test = world();
    const before = configOf("a:1", "b:2");
    await change(test, before, before);
    test.taken.add(2);
    await expect(change(test, before, configOf("a:1", "c:2"))).rejects.toThrow("2 is taken");
    expect(names(test.set.inForce)).toEqual(["a"]);
    test.taken.clear();
    await change(test, before, before);
    expect(names(test.set.inForce)).toEqual(["a", "b"]);
    expect(test.said.at(-2)).toBe("b opens 2");
  });
});
