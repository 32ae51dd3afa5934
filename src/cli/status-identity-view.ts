import type { StatusIdentity } from "../admin/status-identity.ts";
import { duration, plural, problemText, show } from "./status-texts.ts";

/** The parts of the status view that are about identity: a label and its lines. */
export function identitySections(identity: StatusIdentity, nowMs: number): [label: string, lines: string[]][] {
  const { source, state, generation, svids, bundles, federation = [], pending, problem } = identity;
  const soon = (time: string | undefined): string => (time === undefined ? "" : `, the first ${until(time, nowMs)}`);
  return [
    [
      "identity",
      [
        `${show(state)}, from ${show(source)}${generation === undefined ? "" : `, generation ${show(generation)}`}`,
        ...svids.map(
          ({ spiffeId, serial, hint, notAfter, key }) =>
            `${show(spiffeId)}  serial ${show(serial)}${key === undefined ? "" : `  ${show(key)}`}  ${until(notAfter, nowMs)}${hint === "" ? "" : `  hint ${show(hint)}`}`,
        ),
        ...(problem === undefined ? [] : [problemText(problem)]),
        ...(pending === undefined
          ? []
          : [
              `to be taken over by ${show(pending.source)}${pending.problem === undefined ? "" : `: ${problemText(pending.problem)}`}`,
            ]),
      ],
    ],
    [
      "bundles",
      bundles.map(
        ({ trustDomain, authorities, firstExpiry, crls = 0, jwtKeys }) =>
          `${show(trustDomain)}  ${plural(authorities, "authority", "authorities")}${soon(firstExpiry)}${crls === 0 ? "" : `, ${plural(crls, "CRL", "CRLs")}`}${jwtKeys === undefined ? "" : `, ${plural(jwtKeys, "JWT key", "JWT keys")}`}`,
      ),
    ],
    [
      "federation",
      federation.map(({ trustDomain, url, fetchedAt, sequence, nextFetch, problem: failed }) => {
        const age =
          fetchedAt === undefined ? "never fetched" : `fetched ${duration((nowMs - Date.parse(fetchedAt)) / 1000)} ago`;
        const next = duration((Date.parse(nextFetch) - nowMs) / 1000);
        return `${show(trustDomain)}  ${age}${sequence === undefined ? "" : `, sequence ${show(sequence)}`}, again in ${next}, from ${show(url)}${failed === undefined ? "" : `: ${problemText(failed)}`}`;
      }),
    ],
  ];
}

function until(time: string, nowMs: number): string {
  const seconds = (Date.parse(time) - nowMs) / 1000;
  return seconds >= 0 ? `expires in ${duration(seconds)} (${show(time)})` : `expired ${duration(-seconds)} ago`;
}
