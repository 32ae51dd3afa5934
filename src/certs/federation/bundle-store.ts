import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { replaceFile } from "../replace-file.ts";
import { type FederatedBundle, readFederatedBundle } from "./federated-bundle.ts";

/** The last good bundle of a partner, as it is kept over restarts. */
export interface StoredBundle {
  readonly bundle: FederatedBundle;
  readonly fetchedAtMs: number;
  /** Of the bootstrap bundle that was configured then: another one now starts anew. */
  readonly bootstrapHash: string;
}

/** Keeps each partner's last good bundle in a file of its own. */
export interface BundleStore {
  /** Undefined if there is none. Throws CountersignError E_FEDERATION_STATE for one that cannot be used. */
  read(trustDomain: TrustDomain): StoredBundle | undefined;
  /** Throws CountersignError E_FEDERATION_STATE. */
  write(stored: StoredBundle): void;
}

const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** Longest name that is used as it is: a file name has at most 255 bytes. */
const MAX_NAME = 200;

/** `folder` is made with mode 0700 if it is not there. What it holds decides whom we trust: nobody else may write to it. */
export function openBundleStore(folder: string): BundleStore {
  const fileOf = (trustDomain: TrustDomain): string => {
    const name = trustDomain.length <= MAX_NAME ? trustDomain : createHash("sha256").update(trustDomain).digest("hex");
    return join(folder, `federated-${name}.json`);
  };
  return {
    read(trustDomain) {
      const file = fileOf(trustDomain);
      try {
        const stat = statSync(file, { throwIfNoEntry: false });
        if (stat === undefined) return undefined;
        if (stat.size > MAX_FILE_BYTES) throw new TypeError("too large");
        const value: unknown = JSON.parse(readFileSync(file, "utf8"));
        if (!isStored(value) || value.trustDomain !== trustDomain) throw new TypeError("not what was written there");
        const { document, fetchedAt, bootstrapHash } = value;
        return {
          bundle: readFederatedBundle(trustDomain, document, file),
          fetchedAtMs: Date.parse(fetchedAt),
          bootstrapHash,
        };
      } catch (error) {
        throw new CountersignError(
          "E_FEDERATION_STATE",
          `${file} cannot be used and is passed over: ${reasonOf(error)}`,
          {
            cause: error,
          },
        );
      }
    },
    write({ bundle, fetchedAtMs, bootstrapHash }) {
      const file = fileOf(bundle.trustDomain);
      const { trustDomain, document } = bundle;
      const text = JSON.stringify({
        trustDomain,
        fetchedAt: new Date(fetchedAtMs).toISOString(),
        bootstrapHash,
        document,
      });
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        replaceFile(file, text);
      } catch (error) {
        throw asCountersignError(error, "E_FEDERATION_STATE", `${file} cannot be written: ${reasonOf(error)}`);
      }
    },
  };
}

interface Stored {
  readonly trustDomain: string;
  readonly fetchedAt: string;
  readonly bootstrapHash: string;
  readonly document: string;
}

function isStored(value: unknown): value is Stored {
  if (typeof value !== "object" || value === null) return false;
  const { trustDomain, fetchedAt, bootstrapHash, document } = value as Record<string, unknown>;
  if (![trustDomain, fetchedAt, bootstrapHash, document].every((one) => typeof one === "string")) return false;
  return !Number.isNaN(Date.parse(fetchedAt as string));
}

function reasonOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return error instanceof Error ? error.message : "unreadable";
}
