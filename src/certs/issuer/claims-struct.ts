import type { StructMessage, ValueMessage } from "../workload-api/proto.ts";

/** JSON claims as google.protobuf.Struct, which ValidateJWTSVIDResponse carries. Depth is that of a token's JSON. */
export function claimsStruct(claims: Readonly<Record<string, unknown>>): StructMessage {
  return { fields: Object.fromEntries(Object.entries(claims).map(([name, value]) => [name, valueMessage(value)])) };
}

function valueMessage(value: unknown): ValueMessage {
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(valueMessage) } };
  if (typeof value === "object" && value !== null)
    return { structValue: claimsStruct(value as Readonly<Record<string, unknown>>) };
  return { nullValue: "NULL_VALUE" };
}
