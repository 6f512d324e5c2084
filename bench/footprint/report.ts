/** The footprint's results as a page. */
import { summarize } from '../kit/statistics.ts';

export interface Round {
  /** Node (its agent and watchdog) or proxy; `, leads` behind the leader's. */
  readonly name: string;
  readonly processes: number;
  readonly residentKiB: number;
  /** Of one core: 0.003 is 0.3 %. */
  readonly cpuShare: number;
  readonly wakeUpsPerSecond: number;
  readonly seconds: number;
  /** Of the machine, over a minute, at the end of the round. */
  readonly load: number;
}

export function renderFootprint(machine: Readonly<Record<string, string>>, rounds: readonly Round[]): string {
  const names = [...new Set(rounds.map(({ name }) => name))];
  const rows = names.map((name) => {
    const own = rounds.filter((round) => round.name === name);
    const resident = summarize(own.map((round) => round.residentKiB / 1024));
    const cpu = summarize(own.map((round) => round.cpuShare * 100));
    const wakeUps = summarize(own.map((round) => round.wakeUpsPerSecond));
    const range = `${cpu.min.toFixed(2)}–${cpu.max.toFixed(2)}`;
    return `| ${name} | ${own[0]?.processes} | ${resident.max.toFixed(1)} | ${cpu.median.toFixed(2)} | ${range} | ${wakeUps.median.toFixed(1)} | ${own.length} × ${own[0]?.seconds} s |`;
  });
  const loads = summarize(rounds.map(({ load }) => load));
  return `# Footprint of an idle site

${Object.entries(machine)
  .map(([name, value]) => `- ${name}: ${value}`)
  .join('\n')}
- load of the machine during the rounds: ${loads.min.toFixed(2)} to ${loads.max.toFixed(2)}

| agent and watchdog, or proxy | processes | resident, MiB (highest) | of one core, % (median) | range | wake-ups a second | rounds |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
}
