import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { createTestCa } from "../../../test/support/cert-factory.ts";
import { serveDocuments } from "../../../test/support/token-issuer.ts";
import { createDialRules } from "../../core/dial-rules.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseCidr } from "../../core/ip-address.ts";
import { createDocumentFetch, type DocumentFetchOptions, MAX_DOCUMENT_BYTES } from "./fetch-document.ts";

const folder = mkdtempSync(join(tmpdir(), "countersign-fetch-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const ca = createTestCa("idp.example.org");
const caFile = join(folder, "ca.pem");
writeFileSync(caFile, ca.bundlePem);
const certificate = ca.issue({ dnsSans: ["localhost"] });
const other = createTestCa("idp.example.org").issue({ dnsSans: ["localhost"] });

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((cleanup) => cleanup()));
});

type Answer = Parameters<typeof serveDocuments>[0];
async function serve(answer: Answer, tls = certificate): Promise<{ readonly url: string; readonly asked: string[] }> {
  const server = await serveDocuments(answer, tls);
  cleanups.push(() => server.close());
  return { url: `https://localhost:${server.port}/jwks`, asked: server.asked };
}

const closed = () => createDialRules({ ownAddresses: [], ownListeners: [], allowed: [] });
const open = (...allowed: string[]) => {
  const blocks = allowed.flatMap((text) => parseCidr(text) ?? []);
  return () => createDialRules({ ownAddresses: [], ownListeners: [], allowed: blocks });
};
const LOOPBACK = open("127.0.0.0/8", "::1/128");

/** The text, or the code and message of the refusal. */
async function fetched(
  url: string,
  options: Partial<DocumentFetchOptions> = {},
  signal: AbortSignal = AbortSignal.timeout(5000),
): Promise<string> {
  const fetch = createDocumentFetch({ rules: LOOPBACK, allowHttp: false, ca: caFile, ...options });
  try {
    const { text, maxAgeMs } = await fetch(url, signal);
    return `${text.slice(0, 20)} ${maxAgeMs}`;
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    return `${error.code} ${error.message}`;
  }
}

const says =
  (text: string, headers: Record<string, string> = {}, status = 200): Answer =>
  (_, response) =>
    void response.writeHead(status, headers).end(text);

describe("a fetch of keys", () => {
  it("takes what answers 200 by TLS, and how long it may be kept", async () => {
    const { url, asked } = await serve(says("{}", { "cache-control": "public, max-age=300, s-maxage=9" }));
    expect(await fetched(url)).toBe("{} 300000");
    expect(asked).toEqual(["/jwks"]);
    expect(await fetched((await serve(says("{}", { "cache-control": "no-store" }))).url)).toBe("{} 0");
    expect(await fetched((await serve(says("{}"))).url)).toBe("{} undefined");
  });

  it.each<readonly [string, Answer, RegExp]>([
    [
      "a redirect, which is not followed",
      says("", { location: "https://127.0.0.1:1/" }, 302),
      /^E_JWKS_FETCH .*302, a redirect/,
    ],
    ["an error status", says("{}", {}, 500), /^E_JWKS_FETCH .*500/],
    ["204", says("", {}, 204), /^E_JWKS_FETCH .*204/],
    ["a compressed answer", says("x", { "content-encoding": "gzip" }), /^E_JWKS_FETCH .*compressed/],
    [
      "an announced body of more than 1 MiB",
      says("", { "content-length": String(MAX_DOCUMENT_BYTES + 1) }),
      /^E_JWKS_(?:TOO_LARGE|FETCH) /,
    ],
    ["a body of more than 1 MiB", says("x".repeat(MAX_DOCUMENT_BYTES + 1)), /^E_JWKS_TOO_LARGE /],
    [
      "a head of more than 16 KiB",
      says("{}", { "x-long": "y".repeat(15_000), "x-longer": "y".repeat(15_000) }),
      /^E_JWKS_FETCH /,
    ],
    [
      "an answer that breaks off",
      (_, response) => void response.writeHead(200, { "content-length": "9" }).write("{", () => response.destroy()),
      /^E_JWKS_FETCH /,
    ],
  ])("refuses %s", async (_, answer, refusal) => {
    expect(await fetched((await serve(answer)).url)).toMatch(refusal);
  });

  it("gives up an endless body at its limit", async () => {
    const { url } = await serve((_, response) => {
      response.on("drain", () => pour());
      const pour = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
      };
      pour();
    });
    expect(await fetched(url)).toMatch(/^E_JWKS_TOO_LARGE /);
  });

  it("ends when its time is over, with or without a first byte", async () => {
    for (const answer of [
      () => undefined,
      (_: unknown, response: { write(text: string): boolean }) => void response.write("{"),
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { url } = await serve(answer as Answer);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await fetched(url, {}, AbortSignal.timeout(150))).toMatch(/^E_JWKS_FETCH no complete answer in time/);
    }
  });

  it("trusts the named authorities alone", async () => {
    expect(await fetched((await serve(says("{}"), other)).url)).toMatch(/^E_JWKS_FETCH /);
    expect(await fetched((await serve(says("{}"))).url, { ca: undefined })).toMatch(/^E_JWKS_FETCH /);
    expect(await fetched((await serve(says("{}"))).url, { ca: join(folder, "none.pem") })).toMatch(
      /^E_JWKS_FETCH .*ca/,
    );
    const { url } = await serve(says("{}"));
    expect(await fetched(url.replace("localhost", "127.0.0.1"))).toMatch(/^E_JWKS_FETCH /);
  });

  it.each([
    ["http", "http://localhost:1/"],
    ["a file", "file:///etc/passwd"],
    ["a user in it", "https://a:b@localhost:1/"],
  ])("refuses a URL with %s", async (_, url) => {
    expect(await fetched(url)).toMatch(/^E_JWKS_ADDRESS /);
  });

  it("dials no closed address, by number or by name, and does not even connect", async () => {
    const { url, asked } = await serve(says("{}"));
    const port = new URL(url).port;
    for (const host of ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f000001", "0.0.0.0"]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await fetched(`https://${host}:${port}/`, { rules: closed }), host).toMatch(/^E_JWKS_ADDRESS /);
    }
    expect(await fetched("https://169.254.169.254/latest/meta-data", { rules: closed })).toMatch(/metadata/);
    expect(await fetched(url, { rules: open("10.0.0.0/8") })).toMatch(/^E_JWKS_ADDRESS /);
    expect(asked).toEqual([]);
  });

  it("takes plaintext and every address where istio mode asks for it", async () => {
    const server = await serveDocuments(says("{}"));
    cleanups.push(() => server.close());
    const url = `http://127.0.0.1:${server.port}/jwks`;
    expect(await fetched(url, { allowHttp: true, rules: undefined })).toBe("{} undefined");
  });
});
