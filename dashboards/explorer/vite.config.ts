import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';
import { hashOfSources } from './build/sources';

const root = fileURLToPath(new URL('.', import.meta.url));

/** Write `sources.sha256` beside the built files, so that a test can say whether they are those of the source. */
function sourcesHash(): Plugin {
  return {
    name: 'sources-hash',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'sources.sha256', source: `${hashOfSources(root)}\n` });
    },
  };
}

export default defineConfig({
  root,
  base: './',
  plugins: [sourcesHash()],
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
