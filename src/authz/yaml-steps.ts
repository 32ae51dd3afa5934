import { Composer, CST, type Document, Lexer, type LineCounter, Parser } from "yaml";

/** One document of a file. Its long list of rules is composed apart, so that no step takes long. */
export interface SteppedDocument {
  readonly document: Document.Parsed;
  /** The items of `spec.rules` that were left out of the document, each document holding some of them as a list. */
  readonly rules: readonly Document.Parsed[];
}

const OPTIONS = {
  logLevel: "silent",
  prettyErrors: false,
  stringKeys: true,
  uniqueKeys: false, // checked by the reader, in linear time and with the place of the first
  version: "1.2",
} as const;
/** Rules that are composed in one step, and the least for which it is worth it. */
const STEP_RULES = 8;
const STEP_LEXEMES = 128;

/** Does what parseAllDocuments does, one document after the other; between them it yields undefined every few lexemes and every few rules. */
export function* parseInSteps(text: string, lines: LineCounter): Generator<SteppedDocument | undefined, void> {
  const parser = new Parser(lines.addNewLine);
  lines.addNewLine(0);
  const composer = new Composer(OPTIONS);
  /** The rules of the document that the composer holds back until the next token. */
  let rules: readonly Document.Parsed[] = [];
  let hasAnchors = false;
  let count = 0;
  const compose = function* (token: CST.Token): Generator<SteppedDocument | undefined, void> {
    const list = token.type === "document" && !hasAnchors ? rulesOf(token) : undefined;
    const next = list === undefined ? [] : yield* composeRules(list);
    for (const document of composer.next(token)) {
      yield { document, rules };
      rules = [];
    }
    if (token.type !== "document") return;
    rules = next;
    hasAnchors = false;
  };
  for (const lexeme of new Lexer().lex(text)) {
    const type = CST.tokenType(lexeme);
    if (type === "anchor" || type === "alias") hasAnchors = true;
    for (const token of parser.next(lexeme)) yield* compose(token);
    if (++count % STEP_LEXEMES === 0) yield;
  }
  for (const token of parser.end()) yield* compose(token);
  for (const document of composer.end()) yield { document, rules };
}

/** The block list at `spec.rules`, when it is long. */
function rulesOf(document: CST.Document): CST.BlockSequence | undefined {
  let at: CST.Token | null | undefined = document.value;
  for (const name of ["spec", "rules"]) {
    if (at?.type !== "block-map") return undefined;
    at = at.items.find(({ key }) => CST.isScalar(key) && key.source === name)?.value;
  }
  return at?.type === "block-seq" && at.items.length > STEP_RULES ? at : undefined;
}

/** Takes the items out of the list. */
function* composeRules(list: CST.BlockSequence): Generator<undefined, readonly Document.Parsed[]> {
  const items = list.items.splice(0);
  const parts: Document.Parsed[] = [];
  for (let from = 0; from < items.length; from += STEP_RULES) {
    const some = items.slice(from, from + STEP_RULES);
    const offset = some[0]?.start[0]?.offset ?? list.offset;
    const value: CST.BlockSequence = { type: "block-seq", offset, indent: list.indent, items: some };
    const composer = new Composer(OPTIONS);
    const token: CST.Document = { type: "document", offset, start: [], value };
    for (const part of [...composer.next(token), ...composer.end()]) parts.push(part);
    yield;
  }
  return parts;
}
