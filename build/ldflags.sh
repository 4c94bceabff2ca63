#!/bin/sh
# ldflags.sh: prints the linker flags that stamp our programs with version, commit and date.
# The commit is the last one that changed the programs, so that a commit to docs or tests builds nothing anew.
# Where there is no git (a source archive, a container build), GIT_COMMIT, GIT_TREE_STATE and BUILD_DATE can say it;
# BUILD_VERSION is another version than that in VERSION.
set -eu
cd "$(dirname "$0")/.."
sources="VERSION go.mod go.sum cmd pkg"
version=${BUILD_VERSION:-$(cat VERSION)}
number=${version#v}
major=${number%%.*}
minor=${number#*.}
minor=${minor%%.*}

# shellcheck disable=SC2086 # The list of sources is meant to be split.
last() { TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format="$1" -- $sources 2>/dev/null || true; }
commit=${GIT_COMMIT:-$(last %H)}
date=${BUILD_DATE:-$(last %cd)}
state=${GIT_TREE_STATE:-}
if [ -z "$state" ] && [ -n "$commit" ]; then
	# shellcheck disable=SC2086
	if [ -z "$(git status --porcelain -- $sources 2>/dev/null || true)" ]; then state=clean; else state=dirty; fi
fi

printf '%s' "-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	printf ' -X %s' "$package.gitVersion=$version" "$package.gitMajor=$major" "$package.gitMinor=$minor" \
		"$package.gitCommit=${commit:-unknown}" "$package.gitTreeState=${state:-unknown}" "$package.buildDate=${date:-1970-01-01T00:00:00Z}"
done
echo
