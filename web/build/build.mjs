// Builds the page into dist/: the shell, its script and style with hashed names, the map as a chunk of its own.
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import esbuild from 'esbuild';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const output = resolve(root, 'dist');
const assets = resolve(output, 'assets');
const worker = resolve(root, 'node_modules/maplibre-gl/dist/maplibre-gl-worker.mjs');

async function workerName() {
  const digest = createHash('sha256').update(await readFile(worker)).digest('hex');
  return `map-worker-${digest.slice(0, 8)}.js`;
}

function options(name) {
  return {
    entryPoints: { desk: resolve(root, 'src/main.ts'), style: resolve(root, 'src/style.css') },
    outdir: assets,
    bundle: true,
    splitting: true,
    format: 'esm',
    target: ['es2022'],
    minify: true,
    metafile: true,
    legalComments: 'none',
    entryNames: '[name]-[hash]',
    chunkNames: 'chunk-[hash]',
    define: { MAP_WORKER: JSON.stringify(`/assets/${name}`) },
  };
}

function address(metafile, source) {
  const found = Object.entries(metafile.outputs).find(([, made]) => made.entryPoint?.endsWith(source));
  if (!found) throw new Error(`${source} was not built`);
  return `/${relative(output, resolve(found[0]))}`;
}

async function build() {
  const name = await workerName();
  await rm(output, { recursive: true, force: true });
  await mkdir(assets, { recursive: true });
  const { metafile } = await esbuild.build(options(name));
  await copyFile(worker, resolve(assets, name));
  for (const file of await readdir(assets)) await writeFile(resolve(assets, `${file}.gz`), gzipSync(await readFile(resolve(assets, file)), { level: 9 }));
  const shell = await readFile(resolve(root, 'index.html'), 'utf8');
  const page = shell
    .replaceAll('{{script}}', address(metafile, 'src/main.ts'))
    .replaceAll('{{map}}', address(metafile, 'src/map.ts'))
    .replaceAll('{{style}}', address(metafile, 'src/style.css'));
  await writeFile(resolve(output, 'index.html'), page);
  return metafile;
}

const { outputs } = await build();
const total = Object.values(outputs).reduce((sum, made) => sum + made.bytes, 0);
console.log(`web: ${Object.keys(outputs).length} files, ${Math.round(total / 1024)} KiB and the map's worker`);
