/** Major version in a tag such as `postgres:18.1-bookworm`; undefined where a digest or another scheme tells nothing. */
export function imageMajor(imageName: string): number | undefined {
  const tag = /:([^/:@]+)(?:@.*)?$/.exec(imageName)?.[1];
  const major = tag === undefined ? undefined : /^v?([0-9]{2})(?:[.-]|$)/.exec(tag)?.[1];
  return major === undefined ? undefined : Number(major);
}
