import { parseArgs } from "node:util";

/** Reads `--name N` for each of `defaults`, whole numbers of at least 1. Throws an Error whose message is for the user. */
export function parseNumbers<Name extends string>(
  argv: readonly string[],
  defaults: Readonly<Record<Name, number>>,
): Readonly<Record<Name, number>> {
  const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: "string" as const }]));
  const { values } = parseArgs({ args: [...argv], options });
  const given = Object.entries(values).map(([name, text]) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a whole number of at least 1`);
    return [name, value] as const;
  });
  return { ...defaults, ...Object.fromEntries(given) };
}
