import type { ASTNode } from "@marcbachmann/cel-js";
import type { CelProblem } from "./cel-expression.ts";
import type { PolicyModel } from "./policy-model.ts";

/** Names that a request's headers never have, and what compares the same. Host is left out of them because it is to be compared as `hosts` are. */
const NOT_HEADERS: Readonly<Record<string, string | undefined>> = {
  host: "request.host",
  ":authority": "request.host",
  ":path": "request.path",
  ":method": "request.method",
};

/** What the other direction's policies may ask. The type checker refuses it as well, and cannot say why. */
export function wrongSide(node: ASTNode, direction: PolicyModel["direction"]): CelProblem | undefined {
  const refuse = (message: string, fix: string): CelProblem => ({
    code: "E_POLICY_CONDITION",
    message,
    offset: node.start,
    fix,
  });
  if (direction === "INBOUND") {
    if (node.op !== "id" || node.args !== "destination") return undefined;
    return refuse(
      "asks for destination in an INBOUND policy: that is this workload",
      "use `workload`, or connection.destinationPort",
    );
  }
  if (node.op === "id" && node.args === "source")
    return refuse(
      "asks for source in an OUTBOUND policy: the caller is this workload",
      "use `workload`, or select it by selector.matchLabels",
    );
  if (node.op === "." && isRequest(node.args[0]) && node.args[1] === "auth")
    return refuse("asks for request.auth in an OUTBOUND policy, whose calls have no end user", "remove it");
  return undefined;
}

/** A header by a name that none has. */
export function wrongHeader(node: ASTNode): CelProblem | undefined {
  const name = headerName(node);
  if (name === undefined) return undefined;
  const lower = name.toLowerCase();
  const instead = Object.hasOwn(NOT_HEADERS, lower) ? NOT_HEADERS[lower] : undefined;
  if (instead === undefined && name === lower) return undefined;
  const shown = JSON.stringify(name.slice(0, 100));
  return {
    code: "E_POLICY_CONDITION",
    message: `asks for request.headers[${shown}], which no request has`,
    offset: node.start,
    fix: instead === undefined ? `write ${shown.toLowerCase()}: names of headers are in lower case` : `use ${instead}`,
  };
}

/** The name where one of the request's headers is asked for by a literal. */
function headerName(node: ASTNode): string | undefined {
  if (node.op === ".") return isHeaders(node.args[0]) ? node.args[1] : undefined;
  if (node.op !== "[]" && node.op !== "in") return undefined;
  const [first, second] = node.args;
  const [of, key] = node.op === "in" ? [second, first] : [first, second];
  return isHeaders(of) && key.op === "value" && typeof key.args === "string" ? key.args : undefined;
}

function isHeaders(node: ASTNode): boolean {
  return node.op === "." && isRequest(node.args[0]) && node.args[1] === "headers";
}

/** The variable itself. */
export function isRequest(node: ASTNode): boolean {
  return node.op === "id" && node.args === "request";
}
