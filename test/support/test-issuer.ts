// An issuer in this process whose callers are whoever the test says: no kernel is asked.
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuditEvent } from "../../src/audit/serialise-record.ts";
import { type IssuerConfig, parseIssuerConfig } from "../../src/certs/issuer/issuer-config.ts";
import { type RunningIssuer, startIssuer } from "../../src/certs/issuer/start-issuer.ts";
import type { LocalPeer } from "../../src/sys/local-peer.ts";
import { type FakeClock, fakeClock } from "./fake-clock.ts";
import { type TestClient, workloadApiClient } from "./workload-api-client.ts";

export interface TestIssuer {
  /** Holds issuer.yaml's relative paths, and the sockets `s` and `admin`. */
  readonly folder: string;
  readonly clock: FakeClock;
  readonly log: Record<string, unknown>[];
  readonly records: AuditEvent[];
  /** Why nothing can be recorded. */
  auditProblem: string | undefined;
  /** uid and executable of whoever connects or is looked at next. */
  uid: number;
  path: string;
  /** issuer.yaml without trust domain (example.org), sockets and state. */
  config(yaml: string): IssuerConfig;
  start(yaml: string): Promise<RunningIssuer>;
  client(): Promise<TestClient>;
  /** Port that the server with this name listens on. */
  port(name: string): number;
  close(): Promise<void>;
}

export function testIssuer(startMs?: number): TestIssuer {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-issuer-")));
  const issuers: RunningIssuer[] = [];
  const clients: TestClient[] = [];
  const open = (): LocalPeer => ({
    credentials: { pid: 4321, uid: test.uid, gid: 100 },
    inspect: () => Promise.resolve({ path: test.path, sha256: undefined }),
    close: () => undefined,
  });
  const test: TestIssuer = {
    folder,
    clock: fakeClock(startMs),
    log: [],
    records: [],
    auditProblem: undefined,
    uid: 1001,
    path: "/opt/app",
    config: (yaml) =>
      parseIssuerConfig(
        `trustDomain: example.org\nsocket: unix://${folder}/s\nadmin: unix://${folder}/admin\nstate: state\n${yaml}`,
        join(folder, "issuer.yaml"),
        {},
      ).config,
    async start(yaml) {
      const write = (fields: object): void => void test.log.push({ ...fields });
      const issuer = await startIssuer(test.config(yaml), {
        clock: test.clock,
        peers: { seesOtherUsers: true, open },
        log: { info: write, warn: write, error: write },
        audit: {
          get problem() {
            return test.auditProblem;
          },
          event: (event) => void test.records.push(event),
        },
      });
      issuers.push(issuer);
      return issuer;
    },
    async client() {
      const client = await workloadApiClient(`unix://${folder}/s`);
      clients.push(client);
      return client;
    },
    port(name) {
      const line = test.log.findLast((one) => one["event"] === "listening" && one["name"] === name);
      return Number(/\d+$/.exec(String(line?.["address"]))?.[0]);
    },
    async close() {
      for (const client of clients) client.close();
      await Promise.all(issuers.map((issuer) => issuer.close()));
      rmSync(folder, { recursive: true });
    },
  };
  return test;
}
