// The app of the abuse check as a process of its own: `node app-process.ts PORT NICENESS`. 1 MiB where an attack asks for much.
import { createServer } from "node:http";
import { setPriority } from "node:os";
import { LARGE_ANSWER_PATH } from "../support/http2-attacks.ts";
import { smallAnswer } from "./http-call.ts";

setPriority(Number(process.argv[3]));
const large = Buffer.alloc(1024 * 1024);
createServer((request, response) => {
  request.resume();
  response.on("error", () => undefined);
  response.end(request.url === LARGE_ANSWER_PATH ? large : smallAnswer);
}).listen(Number(process.argv[2]), "127.0.0.1");
