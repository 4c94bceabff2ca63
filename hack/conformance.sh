#!/usr/bin/env bash
# Kubernetes' own tests of load balancers, every one of them, on a cluster of their own: up before and down after,
# whatever happens. With KEEP_LAB=1 on the lab that is up, or on one that stays.
# usage: LAB_NAME=conformance hack/conformance.sh [flags of bin/lab conformance]
set -euo pipefail
cd "$(dirname "$0")/.."
: "${LAB_NAME:=conformance}"
export LAB_NAME
kubectl() { bin/lab kubectl "$@"; }

if [ -z "${KEEP_LAB:-}" ]; then
  trap 'bin/lab down --name "$LAB_NAME"' EXIT
  bin/lab down # what a crash may have left
fi
bin/lab status >/dev/null 2>&1 || bin/lab up --nodes 2

kubectl apply -k test/e2e/conformance/install
kubectl -n kube-system rollout status deployment/kube-ovn-ccm --timeout=120s
kubectl apply -f manifests/examples/guide/nad.yaml -f manifests/examples/guide/subnet.yaml

bin/lab conformance "$@" || {
  status=$?
  kubectl -n kube-system logs -l app.kubernetes.io/name=kube-ovn-ccm --prefix --tail=-1 >bin/conformance/kube-ovn-ccm.log || true
  exit $status
}
