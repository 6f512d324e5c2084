#!/bin/sh
# Makes FOLDER a root of the Debian release SUITE with nothing in it but what every Debian has: debian-root.sh SUITE FOLDER
# The mirror, and how it is reached, are those of this machine's own apt. Needs root and debootstrap.
set -eu
suite=$1
root=$2
[ ! -e "$root/.complete" ] || exit 0

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
[ -n "$mirror" ] || { echo "debian-root: Cannot find the Debian mirror in apt's configuration" >&2; exit 1; }
rm -rf "$root"
mkdir -p "$root"
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
  { tail -n 20 "$root.log" >&2; exit 1; }
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)[A-Za-z:-]* ".+";' >"$root/etc/apt/apt.conf.d/90machine" || :
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
  [ ! -e "$file" ] || cp -L "$file" "$root$file"
done
touch "$root/.complete"
