/**
 * Puts npm beside a Node that came without it: `node fetch-npm.mjs PREFIX` makes PREFIX/bin/npm. For the image's build stage
 * only. The version is fixed, and its archive is compared with the registry's checksum of it that stands here.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const VERSION = '11.19.1';
const INTEGRITY = 'sha512-ztsxKxt/kkIaAs+2i0GU6I+DRmUdrNasxTZKJe9TCdSjKxlhah/4r/hl5ygMD6XAg1qZ9c2TNomR4qgOydp10g==';

const [prefix = '/usr/local'] = process.argv.slice(2);
const registry = (process.env.npm_config_registry ?? 'https://registry.npmjs.org').replace(/\/+$/, '');
const url = `${registry}/npm/-/npm-${VERSION}.tgz`;
const answer = await fetch(url);
if (!answer.ok) throw new Error(`Cannot fetch "${url}": the registry answered ${answer.status}`);
const archive = Buffer.from(await answer.arrayBuffer());
const found = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
if (found !== INTEGRITY) throw new Error(`Cannot use "${url}": its checksum is ${found}, not ${INTEGRITY}`);

const modules = join(prefix, 'lib/node_modules');
mkdirSync(modules, { recursive: true });
mkdirSync(join(prefix, 'bin'), { recursive: true });
execFileSync('tar', ['-xz', '-C', modules], { input: archive });
renameSync(join(modules, 'package'), join(modules, 'npm'));
symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(prefix, 'bin/npm'));
