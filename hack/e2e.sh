#!/usr/bin/env bash
# The cluster tests: a cluster of their own, up before and down after, whatever happens.
# usage: LAB_NAME=e2e hack/e2e.sh [flags of go test]
set -euo pipefail
cd "$(dirname "$0")/.."
: "${LAB_NAME:=e2e}"
export LAB_NAME

if [ -z "${KEEP_LAB:-}" ]; then
  trap 'bin/lab down --name "$LAB_NAME"' EXIT
  bin/lab down --name "$LAB_NAME" # what a crash may have left
fi
bin/lab status --name "$LAB_NAME" >/dev/null 2>&1 || bin/lab up --name "$LAB_NAME" --nodes 2

go -C test/e2e test -count=1 -v -timeout 75m "$@" ./suite/...
