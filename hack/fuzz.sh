#!/usr/bin/env bash
# Runs every fuzz test of the module for a while, one after the other.
# usage: hack/fuzz.sh TIME
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: hack/fuzz.sh TIME}
git grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' -- '*_test.go' | awk '{print $2}' | while read -r name; do
  file=$(git grep -lE "^func $name\\(" -- '*_test.go')
  dir=$(dirname "$file")
  case $dir in test/e2e/*) cd_to=test/e2e pkg=./${dir#test/e2e/} ;; *) cd_to=. pkg=./$dir ;; esac
  (cd "$cd_to" && go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$pkg")
done
