import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createTestCa, type TestCa } from "../../../test/support/cert-factory.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import { type Authorities, openAuthorities } from "./authorities.ts";
import { type JwtKeyType, jwtAlgorithm } from "./jwt-authority.ts";
import type { StateStore } from "./state-store.ts";
import { type AuthoritySet, x509Anchors } from "./trust-bundle.ts";
import { issueX509Svid, type UpstreamAuthority } from "./x509-authority.ts";

const trustDomain = parseTrustDomain("example.org");
const id = parseSpiffeId("spiffe://example.org/a");
const HOUR = 3_600_000;
const terms = { jwtKeyType: "ec-p256", upstream: () => undefined } as const;

function memoryStore(): StateStore & { written: AuthoritySet[]; broken: boolean } {
  const written: AuthoritySet[] = [];
  return {
    written,
    broken: false,
    read: () => written.at(-1),
    write(authorities) {
      if (this.broken) throw new Error("ENOSPC");
      written.push(authorities);
    },
    close: () => undefined,
  };
}
const events: { event?: string }[] = [];
const log = {
  info: (fields: object) => void events.push(fields),
  warn: (fields: object) => void events.push(fields),
  error: (fields: object) => void events.push(fields),
};
const open = (store: StateStore, clock: FakeClock, ttlMs = 6 * HOUR): Promise<Authorities> =>
  openAuthorities({ trustDomain, store, clock, log, terms: () => ({ ...terms, ttlMs }) });
const serials = (authorities: Authorities): string[] =>
  authorities.current.x509.map(({ certificate }) => certificate.serialNumber);
const changed = (authorities: Authorities): Promise<void> =>
  new Promise((resolve) => {
    const unsubscribe = authorities.subscribe(() => {
      unsubscribe();
      resolve();
    });
  });
/** Moves time on; the authorities follow in the background, or with the next signature at the latest. */
async function advance(clock: FakeClock, authorities: Authorities, ms: number): Promise<void> {
  clock.advance(ms);
  await authorities.signingX509();
  await authorities.signingJwt();
}

describe("the issuer's authorities", () => {
  it("are made once, and are on disk before anyone may trust them", async () => {
    const store = memoryStore();
    const authorities = await open(store, fakeClock());
    expect(authorities.current.x509).toHaveLength(1);
    expect(authorities.current.jwt).toHaveLength(1);
    expect(store.written).toEqual([authorities.current]);
  });

  it("rotate with overlap: published at 1/2, signing at 5/6, trusted to the end", async () => {
    const clock = fakeClock();
    const authorities = await open(memoryStore(), clock);
    const [first] = serials(authorities);
    const signing = async (): Promise<string> => (await authorities.signingX509()).certificate.serialNumber;
    const firstKey = (await authorities.signingJwt()).keyId;

    await advance(clock, authorities, 3 * HOUR - 1);
    expect(serials(authorities)).toEqual([first]);
    const published = changed(authorities);
    clock.advance(1);
    await published;
    const second = serials(authorities)[1] ?? expect.fail();
    expect(serials(authorities)).toEqual([first, second]);
    expect(authorities.current.sequence).toBe(2);
    expect(await signing()).toBe(first);
    expect((await authorities.signingJwt()).keyId).toBe(firstKey);

    await advance(clock, authorities, 2 * HOUR - 1);
    expect(await signing()).toBe(first);
    await advance(clock, authorities, 1);
    expect(await signing()).toBe(second);
    expect((await authorities.signingJwt()).keyId).not.toBe(firstKey);
    expect(serials(authorities)).toEqual([first, second]);

    await authorities.refresh(); // nothing is under way any more
    const third = changed(authorities);
    clock.advance(HOUR);
    await third;
    expect(serials(authorities)).toEqual([second, expect.any(String)]);
  });

  it("keep what an old CA signed last valid until the SVID itself ends", async () => {
    const clock = fakeClock();
    const authorities = await open(memoryStore(), clock);
    await advance(clock, authorities, 3 * HOUR);
    await advance(clock, authorities, 2 * HOUR - 1);
    const svid = await issueX509Svid(await authorities.signingX509(), id, HOUR, clock.nowMs());
    const leaf = new X509Certificate(svid.chainDer);
    const trusted = (): boolean =>
      authorities.current.x509.some(
        ({ certificate }) => leaf.checkIssued(certificate) && leaf.verify(certificate.publicKey),
      );
    expect(svid.notAfterMs).toBeGreaterThan(clock.nowMs() + HOUR - 1001);
    for (const ms of [1, HOUR - 2000]) {
      // oxlint-disable-next-line no-await-in-loop -- time passes in order
      await advance(clock, authorities, ms);
      expect(trusted()).toBe(true);
    }
    expect(clock.nowMs()).toBeLessThan(svid.notAfterMs);
  });

  it("survive a restart, in the middle of an overlap too", async () => {
    const clock = fakeClock();
    const store = memoryStore();
    const before = await open(store, clock);
    await advance(clock, before, 3 * HOUR);
    before.close();
    const after = await open(store, clock);
    expect(serials(after)).toEqual(serials(before));
    expect(store.written).toHaveLength(2);
  });

  it("give a new CA time to be known after a long stop, and start anew after the longest", async () => {
    const clock = fakeClock();
    const store = memoryStore();
    const before = await open(store, clock);
    before.close();
    clock.advance(5.4 * HOUR);
    const late = await open(store, clock);
    expect(serials(late)).toHaveLength(2);
    expect((await late.signingX509()).certificate.serialNumber).toBe(serials(before)[0]);
    await advance(clock, late, 0.41 * HOUR);
    expect((await late.signingX509()).certificate.serialNumber).toBe(serials(late)[1]);
    late.close();
    clock.advance(100 * HOUR);
    const anew = await open(store, clock);
    expect(serials(anew)).toHaveLength(1);
    expect(serials(late)).not.toContain(serials(anew)[0]);
  });

  it("catch up when timers slept through the time of preparation", async () => {
    const clock = fakeClock();
    const asleep = { ...clock, nowMs: clock.nowMs, after: () => () => undefined };
    const authorities = await openAuthorities({
      trustDomain,
      store: memoryStore(),
      clock: asleep,
      log,
      terms: () => ({ ...terms, ttlMs: HOUR }),
    });
    clock.advance(50 * HOUR);
    expect((await authorities.signingX509()).notAfterMs).toBe(clock.nowMs() + HOUR);
  });

  it("go on signing with the present CA while the disk is full, and catch up afterwards", async () => {
    const clock = fakeClock();
    const store = memoryStore();
    const authorities = await open(store, clock);
    store.broken = true;
    await advance(clock, authorities, 4 * HOUR);
    expect(serials(authorities)).toHaveLength(1);
    expect(events).toContainEqual(expect.objectContaining({ event: "ca.rotation_failed" }));
    store.broken = false;
    const published = changed(authorities);
    clock.advance(10_000);
    await published;
    expect(serials(authorities)).toHaveLength(2);
  });

  it("have no timer left after close", async () => {
    const clock = fakeClock();
    const authorities = await open(memoryStore(), clock);
    authorities.close();
    expect(clock.pending).toBe(0);
  });

  describe("when other terms are wanted", () => {
    const openWith = async (clock: FakeClock) => {
      const wanted = {
        ttlMs: 60 * HOUR,
        jwtKeyType: "ec-p256" as JwtKeyType,
        upstream: undefined as UpstreamAuthority | undefined,
      };
      const authorities = await openAuthorities({
        trustDomain,
        store: memoryStore(),
        clock,
        log,
        terms: () => ({ ...wanted, upstream: () => wanted.upstream }),
      });
      return { wanted, authorities };
    };
    const algorithms = (authorities: Authorities): string[] =>
      authorities.current.jwt.map(({ key }) => jwtAlgorithm(key));

    it("publish a JWT key of another type at once, and sign with it an hour later", async () => {
      const clock = fakeClock();
      const { wanted, authorities } = await openWith(clock);
      wanted.jwtKeyType = "rsa-2048";
      await authorities.refresh();
      expect(algorithms(authorities)).toEqual(["ES256", "RS256"]);
      expect(authorities.current.x509).toHaveLength(1);
      await advance(clock, authorities, HOUR - 1);
      expect(jwtAlgorithm((await authorities.signingJwt()).key)).toBe("ES256");
      await advance(clock, authorities, 1);
      expect(jwtAlgorithm((await authorities.signingJwt()).key)).toBe("RS256");
      await advance(clock, authorities, 59 * HOUR);
      expect(algorithms(authorities)).not.toContain("ES256");
    });

    it("change nothing when asked again", async () => {
      const { wanted, authorities } = await openWith(fakeClock());
      wanted.jwtKeyType = "rsa-2048";
      await authorities.refresh();
      const { current } = authorities;
      await authorities.refresh();
      expect(authorities.current).toBe(current);
    });

    it("move below another CA and to its successor with both trusted meanwhile", async () => {
      const clock = fakeClock();
      const { wanted, authorities } = await openWith(clock);
      const [own] = authorities.current.x509;
      const upstreamOf = ({ certificate, key }: TestCa): UpstreamAuthority => {
        return { certificate, key, between: [], roots: [certificate] };
      };
      const rootOptions = { nowMs: clock.nowMs(), notAfter: clock.nowMs() + 1000 * HOUR };
      const [first, second] = [createTestCa("example.org", rootOptions), createTestCa("example.org", rootOptions)];
      wanted.upstream = upstreamOf(first);
      await authorities.refresh();
      const anchors = (): string[] => x509Anchors(authorities.current).map(({ serialNumber }) => serialNumber);
      expect(anchors()).toEqual([own?.certificate.serialNumber, first.certificate.serialNumber]);
      expect(await authorities.signingX509()).toBe(own);
      await advance(clock, authorities, HOUR);
      expect((await authorities.signingX509()).anchors).toEqual([first.certificate]);
      wanted.upstream = upstreamOf(second);
      await authorities.refresh();
      expect(anchors()).toHaveLength(3);
      await advance(clock, authorities, HOUR);
      expect((await authorities.signingX509()).anchors).toEqual([second.certificate]);
      await advance(clock, authorities, 59 * HOUR);
      expect(anchors()).toEqual([second.certificate.serialNumber]);
    });

    it("rotate the CA below the same root: what is trusted stays the same", async () => {
      const clock = fakeClock();
      const { wanted, authorities } = await openWith(clock);
      const root = createTestCa("example.org", { nowMs: clock.nowMs(), notAfter: clock.nowMs() + 1000 * HOUR });
      wanted.upstream = { certificate: root.certificate, key: root.key, between: [], roots: [root.certificate] };
      await authorities.refresh();
      await advance(clock, authorities, 31 * HOUR);
      const before = await authorities.signingX509();
      expect(before.anchors).toEqual([root.certificate]);
      await advance(clock, authorities, 20 * HOUR);
      const after = await authorities.signingX509();
      expect(after.certificate.serialNumber).not.toBe(before.certificate.serialNumber);
      await advance(clock, authorities, 10 * HOUR);
      expect(x509Anchors(authorities.current)).toEqual([root.certificate]);
    });

    it("stay as they are while the CA above cannot be used, and JWT keys rotate all the same", async () => {
      const clock = fakeClock();
      const { wanted, authorities } = await openWith(clock);
      const { current } = authorities;
      const root = createTestCa("example.org", { pathLen: 0, nowMs: fakeClock().nowMs() });
      wanted.upstream = { certificate: root.certificate, key: root.key, between: [], roots: [root.certificate] };
      await expect(authorities.refresh()).rejects.toThrow(/E_CHAIN_PATH_LENGTH/);
      expect(authorities.current).toBe(current);
      expect(await authorities.signingX509()).toBe(current.x509[0]);
      wanted.jwtKeyType = "rsa-2048";
      await expect(authorities.refresh()).rejects.toThrow(/E_CHAIN_PATH_LENGTH/);
      expect(algorithms(authorities)).toEqual(["ES256", "RS256"]);
    });
  });
});
