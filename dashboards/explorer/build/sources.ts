/** The hash of everything that the built page is made from, which is written beside it and checked by the Python tests. */

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

const FILES = ['index.html', 'package-lock.json', 'package.json', 'tsconfig.json', 'vite.config.ts'];
const FOLDERS = ['build', 'src'];

/** Return the paths of all sources below `root`, with forward slashes, in the order of their UTF-8 bytes. */
export function sourcePaths(root: string): string[] {
  const inFolders = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/')),
  );
  return [...FILES, ...inFolders].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Return the SHA-256 over each source's path, a NUL, its bytes and a NUL. */
export function hashOfSources(root: string): string {
  const hash = createHash('sha256');
  for (const path of sourcePaths(root)) {
    hash.update(path).update('\0').update(readFileSync(join(root, path))).update('\0');
  }
  return hash.digest('hex');
}
