// One bundled CLI file with a source map. Each command stays behind its own dynamic import, so that a command
// evaluates only what it uses: esbuild keeps modules of a dynamic import lazy inside a single file.
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
mkdirSync(join(root, "dist"), { recursive: true });
const outfile = join(root, "dist", "countersign.mjs");
await build({
  entryPoints: [join(root, "src/cli/main.ts")],
  outfile,
  bundle: true,
  platform: "node",
  target: "node20",
  format: "esm",
  minify: true,
  keepNames: true,
  sourcemap: "linked",
  sourcesContent: false,
  legalComments: "none",
  loader: { ".proto": "text" },
  define: { "process.env.COUNTERSIGN_VERSION": JSON.stringify(version) },
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url); const __dirname = import.meta.dirname, __filename = import.meta.filename;',
  },
});
chmodSync(outfile, 0o755);
