/** Why a text is no URL of a bundle endpoint (SPIFFE Federation section 5.1), or undefined if it is one. */
export function federationUrlProblem(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null) return "is no URL";
  if (url.protocol !== "https:") return "is not https";
  if (url.username !== "" || url.password !== "") return "has a user or password in it";
  if (url.hash !== "") return "has a fragment";
  return undefined;
}
