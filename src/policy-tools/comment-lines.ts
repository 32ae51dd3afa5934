import { CST, Lexer } from "yaml";

/** A comment of a YAML text, and what it stands beside. Lines count from 1. */
export interface LocatedComment {
  /** With its #. */
  readonly text: string;
  readonly line: number;
  readonly column: number;
  /** The line that it is about: its own where something else stands there, else the next one that says something; undefined at the end. */
  readonly about: number | undefined;
}

export interface CommentedText {
  readonly comments: readonly LocatedComment[];
  /** The first and last line of each document, from the first line that says something. */
  readonly documents: readonly { readonly first: number; readonly last: number }[];
}

const [SCALAR, DOC_MODE, FLOW_END] = ["\u001f", "\u0002", "\u0018"];

/** The comments of a YAML text, as the parser sees them: a # within a text is none. */
export function commentLines(text: string): CommentedText {
  const comments: (Omit<LocatedComment, "about"> & { readonly isAlone: boolean })[] = [];
  const saying: number[] = [];
  const documents: { first: number; last: number }[] = [];
  let [line, column] = [1, 1];
  let [isText, isNew] = [false, true];
  for (const lexeme of new Lexer().lex(text)) {
    if (lexeme === DOC_MODE || lexeme === FLOW_END) continue;
    if (lexeme === SCALAR) {
      isText = true;
      continue;
    }
    const type = isText ? "scalar" : CST.tokenType(lexeme);
    if (type === "comment") comments.push({ text: lexeme, line, column, isAlone: saying.at(-1) !== line });
    else if (type === "doc-start" || type === "doc-end") isNew = true;
    else if (type !== "space" && type !== "newline" && type !== "byte-order-mark" && lexeme !== "") {
      if (isNew) documents.push({ first: line, last: line });
      isNew = false;
      if (saying.at(-1) !== line) saying.push(line);
    }
    isText = false;
    const lines = lexeme.split("\n");
    line += lines.length - 1;
    column = (lines.length > 1 ? 1 : column) + (lines.at(-1) ?? "").length;
    const open = documents.at(-1);
    if (open !== undefined && !isNew) open.last = line;
  }
  let next = 0;
  return {
    documents,
    comments: comments.map(({ isAlone, ...comment }) => {
      while ((saying[next] ?? Number.POSITIVE_INFINITY) < comment.line) next++;
      return { ...comment, about: isAlone ? saying[next] : comment.line };
    }),
  };
}
