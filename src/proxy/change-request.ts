import type { AnswerChanges } from "./ext-authz/provider.ts";
import type { EditedFields, PreparedCall } from "./http-service.ts";
import type { RequestHead } from "./http1/http1-events.ts";
import { ownHeaderName } from "./request-auth/token-rules.ts";

/** A request's fields as a provider changed them: what is removed or set goes first, in either spelling, then what is set or appended
 *  follows. */
export function changeRequest(
  { fields, query, own = [], changes: before = [] }: EditedFields,
  changes: AnswerChanges,
): EditedFields {
  const put = [...changes.set, ...changes.append].map(([name]) => name);
  const gone = new Set([...changes.remove, ...changes.set.map(([name]) => name)].map(ownHeaderName));
  const raw: string[] = [];
  const lower: string[] = [];
  const add = (name: string, value: string, as: string = name): void => {
    raw.push(as, value);
    lower.push(name);
  };
  fields.lower.forEach((name, at) => {
    if (!gone.has(ownHeaderName(name))) add(name, fields.raw[at * 2 + 1] ?? "", fields.raw[at * 2] ?? name);
  });
  for (const [name, value] of changes.set) add(name, value);
  for (const [name, value] of changes.append) add(name, value);
  return { fields: { raw, lower }, query, own: [...own, ...put], changes: [...before, changes] };
}

/** Which of the names in the caller's Connection still take a field away. */
export function stillNamed(names: readonly string[], { own }: EditedFields): readonly string[] {
  return own === undefined || names.length === 0 ? names : names.filter((name) => !own.includes(name));
}

/** A call as a provider's answer changes it. `again` looks other fields through as if they had come so. */
export function changeCall(
  head: RequestHead,
  call: PreparedCall,
  changes: AnswerChanges,
  again: (edited: EditedFields) => PreparedCall,
): PreparedCall {
  const edited = changeRequest(call.edited ?? { fields: head.fields, query: head.query }, changes);
  return { ...again(edited), responseFields: [...(call.responseFields ?? []), ...changes.responseFields] };
}
