#!/bin/sh
# ci-cluster.sh KUBE SUMMARY [FILE...]: one cluster, the images in it, the tests on Kubernetes, and the cluster gone again.
# KUBE is a program with the verbs up, down, env, image build, load and the faults of kit/faults.ts. Its clusters publish
# the host names of external-dns's annotation, and give load balancers host names on request.
set -u
kube=$1 summary=$2
shift 2
name=pgspan-ci
certificates=/etc/ssl/certs/ca-certificates.crt

end() { "$kube" down "$name" >/dev/null 2>&1; }
trap end EXIT
trap 'exit 1' INT TERM

began=$(date +%s)
"$kube" up "$name" || exit 1
# A machine behind a proxy with a CA of its own needs that in the build as well.
"$kube" image build pgspan:ci . --secret "id=ca,src=$certificates" || exit 1
"$kube" load pgspan:ci "$name" || exit 1
# The same under another tag: what an upgrade goes to.
"$kube" image build pgspan:ci-next . --secret "id=ca,src=$certificates" >/dev/null || exit 1
"$kube" load pgspan:ci-next "$name" || exit 1
"$kube" load postgres:18 "$name" || exit 1
eval "export $("$kube" env "$name")"
PGSPAN_IMAGE=pgspan:ci POSTGRES_IMAGE=postgres:18 PGSPAN_FAULTS=$kube PGSPAN_EXTERNAL_DNS=1 \
  PGSPAN_BALANCER_HOSTNAME=kube.test/balancer-hostname=true \
  npm run --silent test:kubernetes -- --summary "$summary" "$@"
status=$?
echo "Kubernetes: $(($(date +%s) - began)) s with the image and the cluster"
exit $status
