import type { CountersignError } from "../../core/errors.ts";
import type {
  AllowingAnswer,
  AuthorizationProvider,
  BodyInCheck,
  CheckAnswer,
  CheckedBody,
  CheckQuestion,
} from "./provider.ts";

/** Where providers' part of a call's body comes from, and what they said of it. */
export interface BodySource {
  /** What a provider may see of the body, once that has come; undefined: there is none. An error: it cannot be had. Never rejects. */
  bodyFor(wanted: BodyInCheck): Promise<CheckedBody | CountersignError | undefined>;
  /** What the provider said when it saw the body, once that has gone on to the upstream and nobody can be shown it again. */
  answerThatStands(provider: AuthorizationProvider): AllowingAnswer | undefined;
  /** It has seen the body, and allowed. */
  noteAnswer(provider: AuthorizationProvider, answer: AllowingAnswer): void;
}

/** It could not be asked: the call is refused for what its body is. */
export interface UnaskedAnswer {
  readonly kind: "unasked";
  readonly error: CountersignError;
}

/** Asks a provider that wants the body. */
export async function checkWithBody(
  provider: AuthorizationProvider,
  wanted: BodyInCheck,
  question: CheckQuestion,
  source: BodySource,
  signal: AbortSignal,
): Promise<CheckAnswer | UnaskedAnswer> {
  const stands = source.answerThatStands(provider);
  if (stands !== undefined) return stands;
  const body = await source.bodyFor(wanted);
  if (body instanceof Error) return { kind: "unasked", error: body };
  const answer = await provider.check({ ...question, body }, signal);
  if (answer.kind === "allow" && body !== undefined) source.noteAnswer(provider, answer);
  return answer;
}
