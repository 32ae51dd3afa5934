import { once } from "node:events";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { listeningUid } from "./listening-uid.ts";

test.skipIf(process.platform !== "linux").each(["127.0.0.1", "::1"])(
  "tells who listens on %s, and that nobody does any more",
  async (host) => {
    const server = createServer().listen(0, host);
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect(listeningUid(port)).toBe(process.geteuid?.());
    server.close();
    await once(server, "close");
    expect(listeningUid(port)).toBeUndefined();
  },
);
