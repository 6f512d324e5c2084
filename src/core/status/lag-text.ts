/** A lag in steps that people tell apart, so that a status that holds it changes rarely: `0`, then powers of two from `1 MiB`. */
const MIB = 1024 * 1024;
const UNITS = ['MiB', 'GiB', 'TiB', 'PiB'];

export function lagText(lagBytes: number): string {
  if (lagBytes < MIB) return '0';
  const step = Math.floor(Math.log2(lagBytes / MIB));
  const unit = Math.min(UNITS.length - 1, Math.floor(step / 10));
  return `${2 ** (step - unit * 10)} ${UNITS[unit]}`;
}
