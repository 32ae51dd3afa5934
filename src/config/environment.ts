/** process.env, or what a test says it is. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface Expansion {
  readonly text: string;
  /** One for each variable that could not be filled in. They name variables, never values. */
  readonly problems: readonly { readonly message: string; readonly fix: string }[];
}

const VARIABLE = /^([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?$/;

/** Fills in `${NAME}` and `${NAME:-default}`; `$${` stands for a plain `${`. As in a shell, `:-` also replaces an empty
 *  value. What a variable holds is never expanded again. */
export function expandEnvironment(text: string, environment: Environment): Expansion {
  if (!text.includes("${")) return { text, problems: [] };
  const problems: { message: string; fix: string }[] = [];
  let expanded = "";
  let from = 0;
  for (let start = text.indexOf("${"); start !== -1; start = text.indexOf("${", from)) {
    if (start > from && text[start - 1] === "$") {
      expanded += `${text.slice(from, start - 1)}\${`;
      from = start + 2;
      continue;
    }
    const end = text.indexOf("}", start);
    const variable = end === -1 ? null : VARIABLE.exec(text.slice(start + 2, end));
    if (end === -1 || variable === null) {
      const message = `has a \${ ${end === -1 ? "without its }" : "that names no variable"}`;
      problems.push({ message, fix: `write \${NAME} or \${NAME:-default}, or $\${ for a plain \${` });
      return { text, problems };
    }
    const [, name = "", fallback, fallbackText = ""] = variable;
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (value === undefined && fallback === undefined) {
      problems.push({
        message: `needs the environment variable ${name}, which is not set`,
        fix: `set ${name}, or write \${${name}:-default}`,
      });
    }
    const useFallback = fallback !== undefined && (value === undefined || value === "");
    expanded += text.slice(from, start) + (useFallback ? fallbackText : (value ?? ""));
    from = end + 1;
  }
  return { text: expanded + text.slice(from), problems };
}
