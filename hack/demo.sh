#!/usr/bin/env bash
# The guide's walkthrough on a real cluster, shown step by step. The cluster
# stays up afterwards.
# usage: LAB_NAME=lab hack/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
: "${LAB_NAME:=lab}"
export LAB_NAME
guide=manifests/examples/guide

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() { printf '\033[36m# %s\033[0m\n' "$*"; "$@"; }
kubectl() { bin/lab kubectl "$@"; }
# curl_from HOST: the answer's first lines, as seen from one of the lab's hosts.
curl_from() {
  printf '\033[36m# (on %s) curl http://%s/\033[0m\n' "$1" "$ip"
  bin/lab on "$1" -- curl --silent --show-error --fail --max-time 5 --retry 5 --retry-all-errors --retry-delay 1 "http://$ip/" | sed -n 's/^/    /;1,5p'
}

bin/lab down >/dev/null
title "A real cluster: Kubernetes, Kube-OVN, Open vSwitch, two nodes"
bin/lab up --nodes 2

title "Install kube-ovn-ccm as a user would"
run kubectl apply -k manifests/base
run kubectl -n kube-system rollout status deployment/kube-ovn-ccm --timeout=120s

title "The guide: attachment, Subnet, Service, Pods"
for f in nad subnet service deployment; do run kubectl apply -f $guide/$f.yaml; done
run kubectl rollout status deployment/dynamic --timeout=120s
run kubectl wait --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' service/test-service --timeout=60s

title "EXTERNAL-IP"
run kubectl get pod -o wide
run kubectl get svc
run kubectl get vips
ip=$(kubectl get svc test-service -o jsonpath='{.status.loadBalancer.ingress[0].ip}')

title "The answer to clients outside of the cluster, and inside"
gateway=$(kubectl get pod -l kube-ovn.io/service-name=test-service -o jsonpath='{.items[0].metadata.name}')
node=$(kubectl get pod "$gateway" -o jsonpath='{.spec.nodeName}')
other=$(kubectl get node -o name | sed 's#node/##' | grep -vx "$node" | head -1)
curl_from client
curl_from remote
curl_from "$other"
pod=$(kubectl get pod -l app=dynamic -o jsonpath='{.items[0].metadata.name}')
run kubectl exec "$pod" -- curl --silent --show-error --fail --max-time 5 --output /dev/null --write-out '    a Pod gets HTTP %{http_code}\n' "http://$ip/"

title "The rules inside of the gateway"
for cmd in "ip a show net1" "ip rule" "ip route show table 100" "iptables -t nat -L -n -v"; do
  # shellcheck disable=SC2086
  run kubectl exec "$gateway" -- $cmd
done

title "It is yours now"
cat <<END
  bin/lab kubectl get svc          kubectl, as admin
  bin/lab on client -- curl $ip    a client on the LAN (remote: one behind the router)
  bin/lab on n1 -- ip a            a node (n1, n2)
  bin/lab power-off $node             the gateway's node loses power
  make demo-down                   the end of it
END
