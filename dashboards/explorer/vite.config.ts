import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';
import { hashOfSources } from './build/sources';

const root = fileURLToPath(new URL('.', import.meta.url));

/** Write beside the built files the hash of their sources, for a test, and the license of the library that is in them. */
function besidePage(): Plugin {
  return {
    name: 'beside-page',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'sources.sha256', source: `${hashOfSources(root)}\n` });
      const license = readFileSync(join(root, 'node_modules/uplot/LICENSE'), 'utf8');
      this.emitFile({ type: 'asset', fileName: 'uPlot.LICENSE.txt', source: license });
    },
  };
}

export default defineConfig({
  root,
  base: './',
  plugins: [besidePage()],
  build: {
    outDir: process.env.EXPLORER_OUT ?? '../../platform/tutelage/dashboard/static',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/explorer.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/explorer[extname]',
      },
    },
  },
});
