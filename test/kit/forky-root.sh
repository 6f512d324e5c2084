#!/bin/sh
# A Debian forky root with the newest packaged PostgreSQL and the peers that pgspan is measured beside.
#
#   forky-root.sh                       makes the root if it is not complete, and prints the versions in it
#   forky-root.sh path                  prints the root's folder and nothing else (exit 1 if it is not complete)
#   forky-root.sh run [-b DIR]... [--] CMD [ARG...]
#                                       runs CMD in the root; DIR, the clone, /var/cache/pgspan and /tmp are as outside
#
# Needs root, debootstrap, util-linux, and the Debian mirror of the machine's own apt configuration. The folder is
# $PGSPAN_FORKY_ROOT, default /var/cache/pgspan-forky. A stamp written last says that it is complete; without it, or
# when the list of packages below has changed, the root is made again from nothing. A lock keeps two makers apart.
# Nothing is started in it, and every mount is in a mount namespace of its own: it vanishes with the last process.
set -eu

root=${PGSPAN_FORKY_ROOT:-/var/cache/pgspan-forky}
suite=forky
clone=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)

# PostgreSQL and its tools first, then the peers, then what our own tests call.
packages='postgresql-18 postgresql-client-18
pgbouncer pgpool2 haproxy patroni python3-etcd python3-psycopg2 python3-dnspython etcd-server etcd-client
libatomic1 iproute2 nftables util-linux procps ca-certificates curl git openssl xz-utils e2fsprogs lsof psmisc'
stamp_text="format 1; $suite; $packages"

fail() {
  echo "forky-root: $*" >&2
  exit 1
}

complete() { [ -f "$root/.pgspan-complete" ] && [ "$(cat "$root/.pgspan-complete")" = "$stamp_text" ]; }

# The archive that holds suites such as bookworm (not bookworm-security), as this machine's apt knows it.
# Lists that were never fetched have no Label; then the repository's address must tell.
mirror() {
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
  [ -n "$uri" ] || uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep -E '/debian/?$' | head -n 1)
  [ -n "$uri" ] || fail 'Cannot find the Debian mirror: `apt-get indextargets` names none. Configure apt for Debian, or set PGSPAN_DEBIAN_MIRROR'
  echo "$uri"
}

in_root() {
  LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
}

make_root() {
  command -v debootstrap >/dev/null || fail 'Cannot make the root: debootstrap is not installed (apt-get install debootstrap)'
  from=${PGSPAN_DEBIAN_MIRROR:-$(mirror)}
  script=/usr/share/debootstrap/scripts/$suite
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid # older than the suite; all Debian scripts are one

  [ ! -e "$root" ] || find "$root" -xdev -mindepth 1 -delete
  mkdir -p "$root"
  echo "forky-root: debootstrap $suite into $root" >&2
  debootstrap --variant=minbase --include=ca-certificates,adduser "$suite" "$root" "$from" "$script" >"$root.log" 2>&1 ||
    { tail -n 30 "$root.log" >&2; fail "Cannot make \"$root\": debootstrap failed, its whole log is $root.log"; }

  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # invoke-rc.d starts nothing
  chmod 755 "$root/usr/sbin/policy-rc.d"
  mkdir -p "$root/etc/postgresql-common"
  echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
  # How this machine reaches the mirror (proxy, validity of a frozen snapshot) is apt's configuration, not ours.
  apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)[A-Za-z:-]* ".+";' >"$root/etc/apt/apt.conf.d/90machine" || true
  printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/91pgspan"

  # The same numbers inside and outside, so that a folder made on one side is owned by `postgres` on the other.
  if uid=$(id -u postgres 2>/dev/null) && gid=$(id -g postgres); then
    in_root groupadd --system --gid "$gid" postgres
    in_root useradd --system --uid "$uid" --gid postgres --home-dir /var/lib/postgresql --shell /bin/bash postgres
  fi

  echo "forky-root: installing $(echo $packages | wc -w) packages" >&2
  # Some packages' scripts need /proc (systemd-tmpfiles); this process's mount namespace takes the mounts away again.
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/run"
  for file in /etc/resolv.conf /etc/hosts; do [ ! -e "$file" ] || cp -L "$file" "$root$file"; done
  { in_root apt-get update && in_root apt-get install -y $packages && in_root apt-get clean; } >>"$root.log" 2>&1 ||
    { tail -n 30 "$root.log" >&2; fail "Cannot install into \"$root\": apt-get failed, its whole log is $root.log"; }
  rm -rf "$root"/var/lib/apt/lists/*
  printf '%s' "$stamp_text" >"$root/.pgspan-complete.new"
  mv "$root/.pgspan-complete.new" "$root/.pgspan-complete"
}

ensure_root() {
  complete && return 0
  [ "$(id -u)" = 0 ] || fail "Cannot make \"$root\": this needs root"
  mkdir -p "$(dirname "$root")"
  # The lock is a file beside the folder, because the folder is emptied. Whoever waited finds the work done.
  exec 9>"$root.lock"
  flock 9
  complete || unshare --mount --propagation private -- sh "$0" make-in-namespace 9>&-
  exec 9>&-
}

versions() {
  in_root dpkg-query -W -f '${Package} ${Version}\n' postgresql-18 pgbouncer pgpool2 haproxy patroni etcd-server
}

# Mounts are made in a namespace of our own, and then this process becomes CMD: same pid, signals reach it directly.
run() {
  [ "$(id -u)" = 0 ] || fail "Cannot run in \"$root\": this needs root"
  mkdir -p /var/cache/pgspan # where ./pgspan keeps root's Node: one for inside and outside
  binds="$clone
/var/cache/pgspan"
  while [ $# -gt 0 ]; do
    case $1 in
      -b) binds="$binds
$2"; shift 2 ;;
      --) shift; break ;;
      *) break ;;
    esac
  done
  [ $# -gt 0 ] || fail 'Cannot run: no command given'
  PGSPAN_FORKY_BINDS=$binds PGSPAN_FORKY_CWD=$PWD exec unshare --mount --propagation private -- \
    sh "$0" enter-namespace "$@"
}

enter_namespace() {
  # A mount point of its own, else programs in the root cannot make mount namespaces ("cannot change root filesystem propagation").
  mount --bind "$root" "$root"
  for dir in proc sys dev; do mount --rbind "/$dir" "$root/$dir"; done
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mkdir -p "$root/run/lock" "$root/run/postgresql"
  chown postgres:postgres "$root/run/postgresql" 2>/dev/null || in_root chown postgres:postgres /run/postgresql
  mount --bind /tmp "$root/tmp"
  echo "$PGSPAN_FORKY_BINDS" | while IFS= read -r dir; do
    case $dir in /tmp | /tmp/*) continue ;; esac # already there
    mkdir -p "$root$dir"
    mount --rbind "$dir" "$root$dir"
  done
  # What differs between machines and must be as outside: name resolution, and the certificates that HTTPS trusts.
  for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || { touch "$root$file"; mount --bind "$file" "$root$file"; }
  done
  cwd=$PGSPAN_FORKY_CWD
  unset PGSPAN_FORKY_BINDS PGSPAN_FORKY_CWD
  [ -d "$root$cwd" ] || cwd=/
  export LANG=C.UTF-8
  # The caller's PATH may name tools that lie in the clone (its Node); the root's own folders follow it.
  export PATH="$PATH:/usr/lib/postgresql/18/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  exec chroot "$root" sh -c 'cd "$0" && exec "$@"' "$cwd" "$@"
}

case ${1:-make} in
  make) ensure_root; versions ;;
  path) complete || fail "Cannot use \"$root\": it is not complete; run $0 first"; echo "$root" ;;
  run) shift; ensure_root; run "$@" ;;
  make-in-namespace) make_root ;;
  enter-namespace) shift; enter_namespace "$@" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
