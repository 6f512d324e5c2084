/** Where the clients of a benchmark connect, and how: the same for every system that is compared. */
export interface Target {
  /** Name that the server's certificate carries; verified by every client. */
  readonly host: string;
  readonly hostaddr: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** File with the password and nothing else. */
  readonly passwordFile: string;
  readonly sslrootcert: string;
  /** Prefix of every client's command: the host it runs on; empty on this one. */
  readonly on: readonly string[];
}
