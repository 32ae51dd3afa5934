// One bundled CLI file with a source map. Each command stays behind its own dynamic import, so that a command
// evaluates only what it uses: esbuild keeps modules of a dynamic import lazy inside a single file. Beside it the program that compiles
// large sets of policies, which would else read all of the CLI first (a tenth of a second); the CLI runs without that file as well.
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");

/** A static import of a built-in module is hoisted to the top of the file, out of the lazy module that wants it: each
 *  start would load them all, and Node 20 would refuse the whole file for the ones it does not have. As `require` calls
 *  they stay where they are used. */
const lazyBuiltins = {
  name: "lazy-builtins",
  setup(builder) {
    builder.onResolve({ filter: /^[a-z_:/0-9]+$/ }, ({ path, kind }) =>
      kind === "import-statement" && isBuiltinNow(path) ? { path, namespace: "builtin" } : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
      loader: "js",
    }));
  },
};

/** node:ffi is asked for by name: the Node that builds may be older than the one that runs. */
function isBuiltinNow(path) {
  return path === "node:ffi" || isBuiltin(path);
}

async function bundle(entry, outfile, id) {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  await build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    // Names stay, for stacks: esbuild's keepNames would instead run code each time a closure is made.
    minifyWhitespace: true,
    minifySyntax: true,
    sourcemap: "linked",
    sourcesContent: false,
    legalComments: "none",
    loader: { ".proto": "text" },
    define: {
      "process.env.COUNTERSIGN_VERSION": JSON.stringify(version),
      "process.env.COUNTERSIGN_BUILD": JSON.stringify(id),
      "import.meta.main": "false", // src/cli/main.ts starts itself only when it is run from source
    },
    plugins: [lazyBuiltins],
    banner: {
      js: '#!/usr/bin/env node\nimport { createRequire as __createRequire } from "node:module"; import { dirname as __dirnameOf } from "node:path"; import { fileURLToPath as __pathOf } from "node:url"; const require = __createRequire(import.meta.url), __filename = __pathOf(import.meta.url), __dirname = __dirnameOf(__filename);',
    },
  });
  escapeBeyondAscii(outfile);
  chmodSync(outfile, 0o755);
}

/** What the program is made of: its sources, and which libraries. Its parts run as processes of their own, and must be of one build. */
function sourcesId() {
  const hash = createHash("sha256");
  const sources = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
  for (const file of [join(root, "package.json"), join(root, "package-lock.json"), ...sources])
    hash.update(`${relative(root, file)}\0`).update(readFileSync(file));
  return hash.digest("hex");
}

/** One character beyond ASCII, and V8 keeps the whole text with two bytes a character for as long as the process lives. esbuild escapes them in
 *  strings, not in regular expressions; both take the same escape. */
function escapeBeyondAscii(outfile) {
  const text = readFileSync(outfile, "utf8");
  const ascii = text.replace(/[\u0080-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  if (ascii !== text) writeFileSync(outfile, ascii);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const outfile = resolve(process.argv[2] ?? join(root, "dist", "countersign.mjs"));
  mkdirSync(dirname(outfile), { recursive: true });
  const compiler = join(dirname(outfile), "policy-compiler.mjs");
  const id = sourcesId();
  await bundle("src/cli/bin.ts", outfile, id);
  await bundle("src/cli/policy-compiler.ts", compiler, id);
  for (const file of [outfile, compiler])
    console.log(`${relative(process.cwd(), file)}: ${Math.round(statSync(file).size / 1024)} KiB`);
}
