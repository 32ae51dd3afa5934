import { resolve } from "node:path";
import { didYouMean } from "../core/did-you-mean.ts";
import type { Invalid } from "./problems.ts";
import { badValue, orVariable, refine, type Shape, subject, wrongKind } from "./yaml-shape.ts";
import type { YamlText } from "./yaml-tree.ts";

/** How a message shows a text: as written in the file, shortened; what a variable holds is never shown. */
export function quote(node: YamlText): string {
  return JSON.stringify(node.source.length > 120 ? `${node.source.slice(0, 120)}…` : node.source);
}

/** Reads a text by a parser that says in one line why it refuses: "has no port". */
export function parsed<T>(
  wanted: string,
  example: string,
  parse: (text: string) => T | Refusal,
  pattern?: string,
): Shape<T> {
  return {
    schema: pattern === undefined ? { type: "string" } : orVariable({ type: "string", pattern }),
    read(node, context) {
      if (node.kind !== "text") return wrongKind(node, context, wanted, `write it as ${example}`);
      const value = parse(node.value);
      if (!(value instanceof Refusal)) return value;
      return badValue(node, context, `${quote(node)} ${value.why}`, value.fix ?? `write it as ${example}`);
    },
  };
}

/** Why a parser refuses a text. Neither part may quote the text, which may come from the environment. */
export class Refusal {
  readonly why: string;
  readonly fix: string | undefined;
  constructor(why: string, fix?: string) {
    this.why = why;
    this.fix = fix;
  }
}

/** A text of 1 to `max` characters without control characters. */
export function text(options: { readonly max?: number; readonly empty?: boolean } = {}): Shape<string> {
  const { max = 1024, empty = false } = options;
  return {
    schema: { type: "string", ...(empty ? {} : { minLength: 1 }), maxLength: max },
    read(node, context) {
      if (node.kind === "number" || node.kind === "boolean")
        return wrongKind(node, context, "a text", "put it in quotes");
      if (node.kind !== "text") return wrongKind(node, context, "a text");
      if (node.value === "" && !empty) return badValue(node, context, "is empty", "write a text, or remove the key");
      if (node.value.length > max) return badValue(node, context, `is longer than ${max} characters`);
      if (/\p{Cc}/u.test(node.value)) return badValue(node, context, "has a control character");
      return node.value;
    },
  };
}

/** A path of the file system, made absolute from the file's folder. */
export function path(): Shape<string> {
  return refine(text({ max: 4096 }), (value, _node, context) => resolve(context.folder, value));
}

/** A whole number, plain decimal digits. */
export function integer(bounds: { readonly min: number; readonly max: number }): Shape<number> {
  const { min, max } = bounds;
  return {
    schema: orVariable({ type: "integer", minimum: min, maximum: max }),
    read(node, context) {
      const digits =
        node.kind === "number" ? node.source : node.kind === "text" && node.expanded ? node.value : undefined;
      if (digits === undefined) return wrongKind(node, context, "a number", "write plain digits, without quotes");
      if (!/^(?:0|[1-9][0-9]{0,15})$/.test(digits)) {
        return badValue(node, context, "is not a plain whole number", "write decimal digits without a leading zero");
      }
      const value = Number(digits);
      if (value < min || value > max) return badValue(node, context, `is not between ${min} and ${max}`);
      return value;
    },
  };
}

export function boolean(): Shape<boolean> {
  return {
    schema: orVariable({ type: "boolean" }),
    read(node, context) {
      if (node.kind === "boolean") return node.value;
      if (node.kind === "text" && node.expanded && node.value === "true") return true;
      if (node.kind === "text" && node.expanded && node.value === "false") return false;
      return wrongKind(node, context, "true or false", "write true or false");
    },
  };
}

/** One of the given words. `later` are words of the format that this version refuses as not built. */
export function choice<const T extends string>(words: readonly T[], later: readonly string[] = []): Shape<T> {
  return {
    schema: orVariable({ enum: words }),
    read(node, context) {
      const fix = `write one of ${words.join(", ")}`;
      if (node.kind !== "text") return wrongKind(node, context, "a word", fix);
      const word = words.find((candidate) => candidate === node.value);
      if (word !== undefined) return word;
      if (later.includes(node.value)) {
        const message = `${subject(context)} ${quote(node)} is not built in this version`;
        return context.problems.error("E_CONFIG_UNSUPPORTED", node.at, message, fix);
      }
      const meant = didYouMean(node.source, words);
      return badValue(node, context, `is ${quote(node)}`, meant === undefined ? fix : `did you mean "${meant}"?`);
    },
  };
}

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const sizeUnits: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const TEN_YEARS_MS = 87_600 * 3_600_000;

/** A time span such as 250ms, 5s, 5m or 1h, in milliseconds. Bounds in milliseconds too. */
export function duration(bounds: { readonly min?: number; readonly max?: number } = {}): Shape<number> {
  return quantity(durationUnits, "a time span", "250ms, 5s, 5m or 1h", { min: 0, max: TEN_YEARS_MS, ...bounds });
}

/** A size such as 512B, 64KiB, 100MiB or 1GiB, in bytes. Bounds in bytes too. */
export function size(bounds: { readonly min?: number; readonly max?: number } = {}): Shape<number> {
  return quantity(sizeUnits, "a size", "512B, 64KiB, 100MiB or 1GiB", {
    min: 1,
    max: Number.MAX_SAFE_INTEGER,
    ...bounds,
  });
}

function quantity(
  units: Readonly<Record<string, number>>,
  wanted: string,
  example: string,
  bounds: { readonly min: number; readonly max: number },
): Shape<number> {
  const names = Object.keys(units);
  const form = new RegExp(`^(0|[1-9][0-9]{0,15})(${names.join("|")})$`);
  return {
    schema: orVariable({ type: "string", pattern: form.source }),
    read(node, context): number | Invalid {
      const fix = `write ${wanted} with its unit: ${example}`;
      if (node.kind === "number") return badValue(node, context, "has no unit", fix);
      if (node.kind !== "text") return wrongKind(node, context, wanted, fix);
      const [, digits, unit = ""] = form.exec(node.value) ?? [];
      if (digits === undefined) return badValue(node, context, `${quote(node)} is not ${wanted}`, fix);
      const value = Number(digits) * (units[unit] ?? Number.NaN);
      if (value < bounds.min || value > bounds.max) {
        const range = `${spell(bounds.min, units)} to ${spell(bounds.max, units)}`;
        return badValue(node, context, `${quote(node)} is out of range`, `use ${range}`);
      }
      return value;
    },
  };
}

/** In the largest unit that divides it: 65536 is 64KiB. */
function spell(value: number, units: Readonly<Record<string, number>>): string {
  const [name = "", factor = 1] =
    Object.entries(units).findLast(([, each]) => value % each === 0 && value >= each) ?? Object.entries(units)[0] ?? [];
  return `${value / factor}${name}`;
}
