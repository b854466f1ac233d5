// Builds the parts of the page that the wheel carries into ../fracture_edge/web/built.
import { build } from "esbuild";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { HTML } from "./src/page/texts.js";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const out = at("../fracture_edge/web/built/");
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

const common = {
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome109", "firefox115", "safari16.4"],
  charset: "ascii",
  legalComments: "none",
  logLevel: "warning",
};
await build({ ...common, entryPoints: [at("src/page/main.js")], outfile: `${out}page.js` });
await build({
  ...common,
  entryPoints: [at("src/worker.js")],
  outfile: `${out}worker.js`,
  // The build with its glue inside; the others look for files beside the page.
  alias: { "onnxruntime-web/wasm": at("node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs") },
  // Nothing is loaded from there: both WASM files are given as bytes.
  define: { "import.meta.url": '"page://inside/"' },
  external: ["module", "fs", "path", "url", "worker_threads", "node:*"],
});
await build({ ...common, entryPoints: [at("src/page/page.css")], outfile: `${out}page.css` });
const page = readFileSync(at("src/page/index.html"), "utf8").replace(/\{\{(\w+)\}\}/g, (_, name) => {
  if (!HTML[name]) throw new Error(`no text for ${name}`);
  return HTML[name];
});
writeFileSync(`${out}page.html`, page);
cpSync(at("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"), `${out}ort.wasm`);
cpSync(at("node_modules/@jsquash/webp/codec/dec/webp_dec.wasm"), `${out}webp.wasm`);

// Licences of what is inside. onnxruntime's own come with its Python package, which the page is made with.
const packages = ["@jsquash/webp", "dicom-parser"].map((name) => {
  const { version } = JSON.parse(readFileSync(at(`node_modules/${name}/package.json`)));
  return `${name} ${version}\n\n${readFileSync(at(`node_modules/${name}/LICENSE`), "utf8")}`;
});
const libwebp = readFileSync(at("libwebp-licence.txt"), "utf8");
const { version } = JSON.parse(readFileSync(at("node_modules/onnxruntime-web/package.json")));
const runtime = `onnxruntime-web ${version}, licence below\n`;
writeFileSync(`${out}licences.txt`, [...packages, libwebp, runtime].join(`\n${"-".repeat(72)}\n\n`));
