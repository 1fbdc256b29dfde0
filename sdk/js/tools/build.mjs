// Makes the component of a JavaScript plugin: bundles its files with the SDK, then embeds them into the engine. Called by
// `landfall plugin build` with one argument, a JSON object; tools are taken from `tools`, a directory with node_modules.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { about, directory, entry, exports, glue, imports, out, requested, sdk, tools, wit, work, world } = JSON.parse(
  process.argv[2],
);

/** Features of the engine beyond the plugin's own world. `http` is `fetch`; what is not requested is left out. */
const FEATURES = { http: "http", clocks: "clock", random: "random" };

/** SDK modules that need a request of the same name: those of `import ... from "landfall/NAME"`. */
const NEEDS = ["clock", "guests", "http", "random", "session", "signing", "state", "transport"];

/** The tools' versions are pinned, so their main files stay where they are. */
const load = async (file) => import(pathToFileURL(join(tools, "node_modules", file)));

/** Gives the interfaces of the contract their versions, and `landfall` the SDK's place. */
const landfall = {
  name: "landfall",
  setup(build) {
    build.onResolve({ filter: /^landfall(\/|$)/ }, ({ path }) => {
      const name = path.slice("landfall/".length) || "index";
      if (NEEDS.includes(name) && !requested.includes(name)) return { errors: [{ text: missing(name) }] };
      return { path: join(sdk, `${name}.js`) };
    });
    build.onResolve({ filter: /^(landfall|wasi):/ }, ({ path }) => {
      const found = imports.find((one) => one === path || one.split("@")[0] === path);
      if (found) return { path: found, external: true };
      const name = path.split("/")[1].split("@")[0];
      return { errors: [{ text: missing(path.startsWith("wasi:http/") ? "http" : name) }] };
    });
  },
};

const missing = (name) =>
  `plugin.toml does not request \`${name}\`: add "${name}" to \`interfaces\` of its [requests]`;

const main = `
import * as module from ${JSON.stringify(entry)};
import { takeOver } from "landfall/log";
import { exported } from "landfall/_${glue}";
export const { ${exports.join(", ")} } = exported(module, ${JSON.stringify(about)});
takeOver();
`;

const { build } = await load("esbuild/lib/main.js");
const bundle = join(work, "bundle.js");
try {
  await build({
    stdin: { contents: main, resolveDir: work, sourcefile: "main.js" },
    bundle: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2023",
    outfile: bundle,
    plugins: [landfall],
    logLevel: "warning",
    absWorkingDir: directory,
  });
} catch {
  // esbuild has said why on stderr.
  process.exit(1);
}
const { componentize } = await load("@bytecodealliance/componentize-js/src/componentize.js");
const disabled = Object.keys(FEATURES).filter((feature) => !requested.includes(FEATURES[feature]));
try {
  const { component } = await componentize({
    sourcePath: bundle,
    witPath: wit,
    worldName: world,
    disableFeatures: ["fetch-event", ...disabled],
  });
  await writeFile(out, component);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
