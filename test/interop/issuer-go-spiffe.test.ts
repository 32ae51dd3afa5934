import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { expectWorkloadApi } from "./expected-steps.ts";
import { buildGoClient } from "./go-client.ts";
import { belowAnotherCa, runClient, startIssuerProcess } from "./issuer-process.ts";

it.for([
  ["with a CA of its own and ES256", () => ""],
  ["below another CA and with RS256", belowAnotherCa],
] as const)(
  "the issuer serves go-spiffe %s: SVIDs, three rotations, bundles, JWT-SVIDs, sources",
  async ([, more], test) => {
    const { folder, client } = buildGoClient(test);

    const uid = process.getuid?.();
    const sha256 = createHash("sha256").update(readFileSync(client)).digest("hex");
    const exact = `["unix:uid:${uid}", "unix:path:${client}", "unix:sha256:${sha256}"]`;
    const issuer = await startIssuerProcess(
      folder,
      `[{ id: spiffe://example.org/ns/shop/sa/orders, selectors: ${exact}, hint: internal },
      { id: spiffe://example.org/ns/shop/sa/admin, selectors: ["unix:uid:${uid}", "unix:path:${client}"], hint: admin },
      { id: spiffe://example.org/ns/shop/sa/other, selectors: ["unix:uid:${uid}", "unix:path:/opt/other"] }]`,
      more(folder),
    );
    test.onTestFinished(async () => void (await issuer.stop()));

    const steps = await runClient(client, [], issuer.address);
    expectWorkloadApi(steps, ["spiffe://example.org/ns/shop/sa/orders", "spiffe://example.org/ns/shop/sa/admin"]);
    expect(steps.get("x509")).toMatchObject({ hints: ["internal", "admin"] });
    expect(steps.get("jwt")?.["lifeSeconds"]).toBeGreaterThan(290);
    expect(await issuer.stop()).toBe(0);
  },
);

it("go-spiffe is told who it is when no entry matches", async (test) => {
  const { folder, client } = buildGoClient(test);
  const issuer = await startIssuerProcess(folder, "[]");
  test.onTestFinished(async () => void (await issuer.stop()));
  await expect(runClient(client, [], issuer.address)).rejects.toThrow(
    `PermissionDenied desc = no identity issued: no entry matches uid ${process.getuid?.()}`,
  );
});
