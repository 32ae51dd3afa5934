import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { IdentityMaterial } from "../certs/identity-holder.ts";
import { encodePem } from "../certs/pem.ts";
import { replaceFile } from "../certs/replace-file.ts";
import { CountersignError } from "../core/errors.ts";

export interface X509Files {
  /** Writes the default SVID and all bundles; returns the paths. Throws CountersignError E_IDENTITY_FILE. */
  write(material: IdentityMaterial): readonly string[];
}

/** Files as `identity.files` of countersign.yaml takes them: `svid.pem` (leaf first), `svid.key` (PKCS #8), `bundle.pem` of the own
 *  trust domain, and `<trust domain>.pem` of each other one. Each is replaced whole, mode 0600; the key goes first, so that a
 *  reader who meets the middle sees a pair that does not match and waits. A bundle that is gone is removed again. */
export function createX509Files(folder: string): X509Files {
  let others: readonly string[] = [];
  return {
    write({ svids: [svid], bundles }) {
      const own = svid.spiffeId.split("/")[2];
      const bundlePem = (authorities: readonly { readonly raw: Buffer }[]): string =>
        authorities.map(({ raw }) => encodePem("CERTIFICATE", raw)).join("");
      const federated = [...bundles.values()].filter(({ trustDomain }) => trustDomain !== own);
      const contents: readonly (readonly [string, string])[] = [
        ["svid.key", svid.key.export({ type: "pkcs8", format: "pem" }).toString()],
        ["svid.pem", svid.chainPem],
        ...[...bundles.values()]
          .filter(({ trustDomain }) => trustDomain === own)
          .map(({ authorities }) => ["bundle.pem", bundlePem(authorities)] as const),
        ...federated.map(({ trustDomain, authorities }) => [`${trustDomain}.pem`, bundlePem(authorities)] as const),
      ];
      return inFolder(folder, () => {
        for (const [name, text] of contents) replaceFile(join(folder, name), text);
        const names = federated.map(({ trustDomain }) => `${trustDomain}.pem`);
        for (const name of others) if (!names.includes(name)) rmSync(join(folder, name), { force: true });
        others = names;
        return contents.map(([name]) => join(folder, name));
      });
    },
  };
}

/** Writes `jwt_svid.token`, mode 0600, and returns its path. Throws CountersignError E_IDENTITY_FILE. */
export function writeToken(folder: string, token: string): string {
  const file = join(folder, "jwt_svid.token");
  return inFolder(folder, () => {
    replaceFile(file, `${token}\n`);
    return file;
  });
}

function inFolder<T>(folder: string, act: () => T): T {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return act();
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new CountersignError("E_IDENTITY_FILE", `${folder} cannot be written to (${code})`, { cause });
  }
}
