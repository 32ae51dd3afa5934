import { compileRegex } from "../authz/cel-environment.ts";

/** Texts that a pattern of RE2 syntax matches: for each choice the first one, and once the last one. Of what it cannot read (classes by name, flags)
 *  none; each text was tried. */
export function patternSamples(pattern: string): readonly string[] {
  try {
    const program = compileRegex(pattern);
    const texts = [0, 1].map((choice) => sample({ text: pattern, at: 0, choice, depth: 0 }));
    return [...new Set(texts)].filter((text) => program.matcher(text).find());
  } catch {
    return []; // too large, or not read here
  }
}

interface Reader {
  readonly text: string;
  at: number;
  /** 0: the first of several; 1: the last. */
  readonly choice: number;
  depth: number;
}

const MAX_REPEAT = 64;
const MAX_DEPTH = 50;

/** Alternatives, to the end of the group. */
function sample(reader: Reader): string {
  if (reader.depth++ > MAX_DEPTH) throw new TypeError("nested too deep");
  const alternatives = [""];
  while (reader.at < reader.text.length && reader.text[reader.at] !== ")") {
    if (reader.text[reader.at] === "|") {
      reader.at++;
      alternatives.push("");
      continue;
    }
    const atom = sampleAtom(reader);
    const last = alternatives.length - 1;
    alternatives[last] = (alternatives[last] ?? "") + atom.repeat(readRepeat(reader));
  }
  reader.depth--;
  return alternatives.at(reader.choice === 0 ? 0 : -1) ?? "";
}

function sampleAtom(reader: Reader): string {
  const char = reader.text[reader.at++] ?? "";
  switch (char) {
    case "^":
    case "$":
      return "";
    case ".":
      return "x";
    case "\\":
      return escaped(reader);
    case "[":
      return sampleClass(reader);
    case "(": {
      const head = /^\?(?::|P?<\w+>)/.exec(reader.text.slice(reader.at, reader.at + 64))?.[0] ?? "";
      reader.at += head.length;
      const inner = sample(reader);
      reader.at++;
      return inner;
    }
    default:
      return char;
  }
}

const CLASSES: Readonly<Record<string, string>> = {
  d: "7",
  w: "x",
  s: " ",
  D: "x",
  W: "-",
  S: "x",
  b: "",
  A: "",
  z: "",
};

function escaped(reader: Reader): string {
  const char = reader.text[reader.at++] ?? "";
  return CLASSES[char] ?? char;
}

/** One character of `[…]`; of a negated one any that it does not name. */
function sampleClass(reader: Reader): string {
  const negated = reader.text[reader.at] === "^";
  if (negated) reader.at++;
  const members: string[] = [];
  for (let first = true; first || (reader.text[reader.at] ?? "]") !== "]"; first = false) {
    const char = reader.text[reader.at++] ?? "";
    if (char === "-" && !first && (reader.text[reader.at] ?? "]") !== "]") continue;
    members.push(char === "\\" ? escaped(reader) : char);
  }
  reader.at++;
  if (!negated) return members.at(reader.choice === 0 ? 0 : -1) ?? "";
  return ["x", "X", "7", "-", "/", " "].find((one) => !members.includes(one)) ?? "";
}

/** The least number of times; with the last choice once where none would do. */
function readRepeat(reader: Reader): number {
  const found = /^(?:[*+?]|\{(\d+)(?:,\d*)?\})\??/.exec(reader.text.slice(reader.at, reader.at + 16));
  if (found === null) return 1;
  reader.at += found[0].length;
  const least = found[1] === undefined ? (found[0].startsWith("+") ? 1 : reader.choice) : Number(found[1]);
  return Math.min(MAX_REPEAT, least);
}
