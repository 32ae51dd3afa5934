type Schema = Readonly<Record<string, unknown>>;

/** What service accounts stand beside nowhere. */
export const BESIDE = ["principals", "notPrincipals", "namespaces", "notNamespaces"];
const IDENTITY = ["principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals"].flatMap(
  (name) => [name, `not${name.charAt(0).toUpperCase()}${name.slice(1)}`],
);

const CONDITIONAL = ["if", "then", "else"] as const;

/** JSON Schema's conditional (draft-07, section 6.6), put together by name: a literal with `then` would pass for a promise. */
export function when(condition: Schema, then: Schema, otherwise: Schema = {}): Schema {
  const parts = [condition, then, otherwise];
  return Object.fromEntries(CONDITIONAL.map((keyword, i) => [keyword, parts[i]]));
}
/** An object without these keys. */
export function without(keys: readonly string[]): Schema {
  return { type: "object", properties: Object.fromEntries(keys.map((key) => [key, false])) };
}
/** An object whose key has one of these values. */
function having(key: string, values: readonly string[]): Schema {
  return { type: "object", properties: { [key]: { enum: values } }, required: [key] };
}
/** Each rule's items of a list. */
function eachRule(list: "from" | "to", item: Schema): Schema {
  return inside("rules", listOf(inside(list, listOf(item))));
}
function inside(key: string, schema: Schema): Schema {
  return { type: "object", properties: { [key]: schema } };
}
function listOf(items: Schema): Schema {
  return { type: "array", items };
}

/** What an action asks of the rest of the spec. */
export function actionNeeds(ours: boolean): readonly Schema[] {
  const some = { type: "object", required: ["rules"], properties: { rules: { type: "array", minItems: 1 } } };
  const asked = { type: "object", required: ["provider"], properties: { provider: { type: "object" } } };
  return [
    when(having("action", ["DENY", "CUSTOM"]), some),
    when(having("action", ["CUSTOM"]), asked, without(["provider"])),
    // Istio's CUSTOM knows no identities.
    ...(ours ? [] : [when(having("action", ["CUSTOM"]), eachRule("from", inside("source", without(IDENTITY))))]),
  ];
}

/** What a direction leaves nothing to say about. */
export const directionNeeds: readonly Schema[] = [
  when(
    having("direction", ["OUTBOUND"]),
    inside("rules", listOf(without(["from"]))),
    eachRule("to", inside("operation", without(["principals", "notPrincipals"]))),
  ),
];
