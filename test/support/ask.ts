import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Question {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
}

/** One HTTP request on a connection of its own, to a port on loopback or a Unix socket. Rejects when the connection breaks. */
export function ask(
  to: number | string,
  path: string,
  { method = "GET", headers = {} }: Question = {},
): Promise<Answer> {
  const where = typeof to === "number" ? { host: "127.0.0.1", port: to } : { socketPath: to };
  return new Promise((resolve, reject) => {
    const call = request({ ...where, path, method, headers, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end();
  });
}
