/** Figures as reports say them. */
import { loadavg } from 'node:os';

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** Load of this machine over 1, 5 and 15 minutes. */
export function loadText(): string {
  return loadavg()
    .map((one) => one.toFixed(1))
    .join(' ');
}
