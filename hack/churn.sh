#!/usr/bin/env bash
# Addresses come and go while controllers are killed, on a cluster of their own: up before and down after, whatever
# happens. With KEEP_LAB=1 on the lab that is up, or on one that stays.
# usage: LAB_NAME=churn hack/churn.sh [flags of bin/lab churn]
set -euo pipefail
cd "$(dirname "$0")/.."
: "${LAB_NAME:=churn}"
export LAB_NAME

if [ -z "${KEEP_LAB:-}" ]; then
  trap 'bin/lab down --name "$LAB_NAME"' EXIT
  bin/lab down # what a crash may have left
fi
bin/lab status >/dev/null 2>&1 || bin/lab up --nodes 2

bin/lab kubectl apply -k manifests/base
bin/lab kubectl -n kube-system rollout status deployment/kube-ovn-ccm --timeout=120s

bin/lab churn "$@"
