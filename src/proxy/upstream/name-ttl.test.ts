import { createSocket } from "node:dgram";
import { afterEach, describe, expect, it } from "vitest";
import { createNameTtl, namesToAsk, parseSearchRules } from "./name-ttl.ts";

describe("resolv.conf", () => {
  it.each([
    ["", [], 1],
    ["nameserver 10.0.0.1\n", [], 1],
    [
      "search shop.svc.cluster.local svc.cluster.local.\noptions ndots:5 edns0\n",
      ["shop.svc.cluster.local", "svc.cluster.local"],
      5,
    ],
    ["domain a.test\nsearch b.test\n", ["b.test"], 1],
    ["options ndots:x\n", [], 1],
    ["options ndots:99\n", [], 15],
    ["search 1 2 3 4 5 6 7 8\n", ["1", "2", "3", "4", "5", "6"], 1],
  ])("%j is read", (text, domains, dots) => {
    expect(parseSearchRules(text)).toEqual({ domains, dots });
  });

  it.each([
    ["payments", 1, ["payments.a.test", "payments.b.test", "payments"]],
    ["payments.shop", 1, ["payments.shop", "payments.shop.a.test", "payments.shop.b.test"]],
    ["payments.shop", 5, ["payments.shop.a.test", "payments.shop.b.test", "payments.shop"]],
    ["payments.shop.", 5, ["payments.shop"]],
  ])("%s with ndots %i is asked for as %j", (name, dots, names) => {
    expect(namesToAsk(name, { domains: ["a.test", "b.test"], dots })).toEqual(names);
  });
});

const A = 1;
const AAAA = 28;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A DNS server that knows records as `name type` → TTLs, and answers NXDOMAIN for the rest, or nothing at all (RFC 1035 section 4). */
async function dnsServer(
  records: ReadonlyMap<string, readonly number[]> | undefined,
): Promise<{ readonly at: string; readonly asked: string[] }> {
  const socket = createSocket("udp4");
  const asked: string[] = [];
  socket.on("message", (query, from) => {
    let at = 12;
    const labels: string[] = [];
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString("latin1", at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const question = `${labels.join(".").toLowerCase()} ${type === A ? "A" : "AAAA"}`;
    asked.push(question);
    if (records === undefined) return;
    const ttls = records.get(question);
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(ttls === undefined ? 0x8183 : 0x8180, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(ttls?.length ?? 0, 6);
    const answers = (ttls ?? []).map((ttl, index) => {
      const size = type === AAAA ? 16 : 4;
      const record = Buffer.alloc(12 + size, index + 1);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(type, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt32BE(ttl, 6);
      record.writeUInt16BE(size, 10);
      return record;
    });
    socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...answers]), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  cleanups.push(() => socket.close());
  return { at: `127.0.0.1:${socket.address().port}`, asked };
}

describe("a TTL", () => {
  const ask = (server: string, name: string, domains: readonly string[] = []): Promise<number | undefined> =>
    new Promise((resolve) => createNameTtl(200, { domains, dots: 1 }, [server])(name, resolve));

  it("is the smallest of all A and AAAA records, in milliseconds", async () => {
    const { at } = await dnsServer(
      new Map([
        ["payments.shop A", [300, 7]],
        ["payments.shop AAAA", [60]],
      ]),
    );
    expect(await ask(at, "payments.shop")).toBe(7000);
  });

  it("of a name without IPv6 is that of its A records", async () => {
    const { at } = await dnsServer(new Map([["payments.shop A", [30]]]));
    expect(await ask(at, "payments.shop")).toBe(30_000);
  });

  it("is asked of the search domains as well", async () => {
    const { at, asked } = await dnsServer(new Map([["payments.b.test A", [5]]]));
    expect(await ask(at, "payments", ["a.test", "b.test"])).toBe(5000);
    expect(asked.map((one) => one.split(" ")[0])).toEqual([
      "payments.a.test",
      "payments.a.test",
      "payments.b.test",
      "payments.b.test",
    ]);
  });

  it("is unknown where DNS does not know the name, or does not answer", async () => {
    const knowsNothing = await dnsServer(new Map());
    expect(await ask(knowsNothing.at, "payments.shop")).toBeUndefined();
    const silent = await dnsServer(undefined);
    expect(await ask(silent.at, "payments.shop", ["a.test", "b.test"])).toBeUndefined();
    expect(silent.asked.every((one) => one.startsWith("payments.shop "))).toBe(true);
  });
});
