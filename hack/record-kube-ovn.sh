#!/usr/bin/env bash
# Records how one version of Kube-OVN answers kube-ovn-ccm, for the unit tests: builds its controller out of its
# sources, runs it against a real API server and real OVN databases, and writes pkg/kubeovn/recorded/versions/VERSION.
# usage: hack/record-kube-ovn.sh VERSION [DIRECTORY WITH ITS SOURCES]
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
work=bin/record/$version
sources=${2:-$work/kube-ovn}
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOWORK=off

mkdir -p "$work"
[ -d "$sources" ] || git clone --quiet --depth 1 --branch "$version" https://github.com/kubeovn/kube-ovn "$sources"
# The controller became a program of its own in v1.13. Before, it was one of several commands of a program whose other
# parts nobody needs here.
package=./cmd/controller
if ! grep -qs '^package main' "$sources"/cmd/controller/*.go; then
  package=./cmd/only
  mkdir -p "$sources/cmd/only"
  printf 'package main\n\nimport "github.com/kubeovn/kube-ovn/cmd/controller"\n\nfunc main() { controller.CmdMain() }\n' >"$sources/cmd/only/main.go"
fi
# It looks at its own name.
go -C "$sources" build -o "$PWD/$work/kube-ovn-controller" "$package"
definitions=$sources/charts/kube-ovn-v2/crds/kube-ovn-crd.yaml
[ -f "$definitions" ] || definitions=$sources/charts/kube-ovn/templates/kube-ovn-crd.yaml
go -C test/e2e build -o "$PWD/$work/recorder" ./cmd/recorder

# In namespaces of its own it meets nobody, and all that it starts ends with it.
rm -rf "$work/logs"
unshare --net --mount --pid --fork --kill-child --mount-proc sh -c 'ip link set lo up && mount -t tmpfs none /var/log && mkdir /var/log/kube-ovn && exec "$@"' sh "$work/recorder" \
  --controller "$work/kube-ovn-controller" --definitions "$definitions" --output "pkg/kubeovn/recorded/versions/$version" --logs "$work/logs"
