// One attack of HTTP/2, over and over, as a process of its own, whose work is not that of the callers beside it:
// `node attacker.ts PORT FOLDER_OF_SVID SECONDS NAME`. Prints what it sent as JSON.
import { readFileSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ATTACKS, CONNECTIONS_ALONE, mount } from "../support/http2-attacks.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";

/** Ends the attack of one connection: a server that bears it is not tried further. */
const maxBytes = 4e6;
/** A client that opens connections without pause would measure what handshakes cost. */
const pauseMs = { fatal: 50, borne: 500 };

// on a machine of its own it would take no time from those that it attacks
setPriority(19);
const [port = "", dir = "", seconds = "", name = ""] = process.argv.slice(2);
const attack = [CONNECTIONS_ALONE, ...ATTACKS].find((one) => one.name === name);
if (attack === undefined) throw new Error(`no attack is called ${name}`);
const identity = {
  chainPem: readFileSync(join(dir, "svid.pem"), "utf8"),
  keyPem: readFileSync(join(dir, "svid.key"), "utf8"),
};
const untilMs = performance.now() + Number(seconds) * 1e3;
let bytesSent = 0;
let connections = 0;
while (performance.now() < untilMs) {
  const attacker = await http2RawClient(Number(port), { ...attack.options, identity, keep: false });
  await mount(attacker, attack, maxBytes);
  bytesSent += attacker.bytesSent;
  connections++;
  await delay(attack.isFatal ? pauseMs.fatal : pauseMs.borne);
  attacker.destroy();
}
process.stdout.write(`${JSON.stringify({ bytesSent, connections })}\n`, () => process.exit(0));
