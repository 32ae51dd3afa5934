import { readFileSync } from "node:fs";

/** Which sources this program was built from. From its sources it is its version: what is built has more to say. */
export function countersignBuild(): string {
  return process.env["COUNTERSIGN_BUILD"] ?? countersignVersion();
}

/** This program's version: built in, or read from package.json when run from its sources. */
export function countersignVersion(): string {
  const built = process.env["COUNTERSIGN_VERSION"];
  if (built !== undefined) return built;
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
