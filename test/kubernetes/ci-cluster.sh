#!/bin/sh
# ci-cluster.sh KUBE SUMMARY [FILE...]: three clusters, the images in them, the tests on Kubernetes, and the clusters gone again.
# Tests on one cluster take the first.
# KUBE is a program with the verbs up, down, env, image build, load and the faults of kit/faults.ts. Its clusters publish
# the host names of external-dns's annotation, and give load balancers host names on request.
set -u
kube=$1 summary=$2
shift 2
names='ci-leo ci-ait ci-pit'
certificates=/etc/ssl/certs/ca-certificates.crt

end() { for name in $names; do "$kube" down "$name" >/dev/null 2>&1; done; }
trap end EXIT
trap 'exit 1' INT TERM

began=$(date +%s)
# shellcheck disable=SC2086 # one word a cluster
"$kube" up $names || exit 1
# A machine behind a proxy with a CA of its own needs that in the build as well.
"$kube" image build pgspan:ci . --secret "id=ca,src=$certificates" || exit 1
# The same under another tag: what an upgrade goes to.
"$kube" image build pgspan:ci-next . --secret "id=ca,src=$certificates" >/dev/null || exit 1
"$kube" image build etcd:ci test/kubernetes/etcd-image >/dev/null || exit 1
for image in pgspan:ci pgspan:ci-next postgres:18 etcd:ci; do
  # shellcheck disable=SC2086
  "$kube" load "$image" $names || exit 1
done
# shellcheck disable=SC2086
eval "export $("$kube" env $names)"
PGSPAN_IMAGE=pgspan:ci POSTGRES_IMAGE=postgres:18 ETCD_IMAGE=etcd:ci PGSPAN_FAULTS=$kube PGSPAN_EXTERNAL_DNS=1 \
  PGSPAN_BALANCER_HOSTNAME=kube.test/balancer-hostname=true \
  npm run --silent test:kubernetes -- --clusters 3 --summary "$summary" "$@"
status=$?
echo "Kubernetes: $(($(date +%s) - began)) s with the images and the clusters"
exit $status
