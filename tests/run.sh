#!/usr/bin/env bash
# Runs every check of this repository. Each section says how it went; the exit
# code is 0 only if all of them passed.
#
#	tests/run.sh                    everything
#	tests/run.sh ./relay/...        the tests of some packages only
#
# Needs Go, git and Chromium. A missing Chromium is installed where that is
# possible (Debian, as root); else the browser tests are skipped, and under
# CI=true that is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."

staticcheck_version=v0.7.0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=()

# section <name> <command...> runs a command and notes whether it failed.
section() {
	local name=$1 begin=$SECONDS
	shift
	printf '\n=== %s\n' "$name"
	if "$@" </dev/null; then
		printf -- '--- ok: %s (%d s)\n' "$name" $((SECONDS - begin))
		return 0
	fi
	printf -- '--- FAILED: %s (%d s)\n' "$name" $((SECONDS - begin))
	failed+=("$name")
	return 1
}

browser() {
	if [ -x /usr/bin/chromium ]; then
		/usr/bin/chromium --version 2>/dev/null || true
		return 0
	fi
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing Chromium"
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >"$tmp/apt.log" 2>&1 ||
			tail -20 "$tmp/apt.log"
	fi
	if [ -x /usr/bin/chromium ]; then
		return 0
	fi
	echo "!!! There is no /usr/bin/chromium: BROWSER TESTS ARE SKIPPED."
	echo "!!! Install it with: sudo apt-get install chromium"
	[ "${CI:-}" != true ]
}

formatted() {
	local files
	files=$(gofmt -l .) || return 1
	[ -z "$files" ] && return 0
	printf 'gofmt would change:\n%s\n' "$files"
	return 1
}

# static builds staticcheck from a module of its own, so that it stays out of go.mod.
static() {
	mkdir "$tmp/staticcheck" &&
		printf 'module staticcheck\n\ngo 1.26\n\nrequire honnef.co/go/tools %s\n' "$staticcheck_version" >"$tmp/staticcheck/go.mod" &&
		(cd "$tmp/staticcheck" && go build -mod=mod -o "$tmp/bin/staticcheck" honnef.co/go/tools/cmd/staticcheck) &&
		"$tmp/bin/staticcheck" ./...
}

gateway() {
	CADDY_OUT="$tmp/caddy" ./xcaddy.sh &&
		"$tmp/caddy" list-modules | grep -q '^http.handlers.wtn$' &&
		"$tmp/caddy" validate --config Caddyfile.example --adapter caddyfile 2>"$tmp/validate.log" ||
		{ cat "$tmp/validate.log" 2>/dev/null; return 1; }
}

section "browser" browser
section "go mod tidy" go mod tidy -diff
section "gofmt" formatted
section "go vet" go vet ./...
section "staticcheck" static
# The race detector allocates by itself, so these assertions need a run without.
section "no allocation per packet" go test -count=1 -run 'Alloc' ./relay/... ./turnsvc
if section "build the gateway" gateway; then
	export WTN_GATEWAY="$tmp/caddy"
	if [ $# -gt 0 ]; then
		section "go test" go test -race -count=1 -timeout 20m "$@"
	else
		# Black-box tests measure what viewers see: one package at a time, so that
		# they do not starve each other.
		section "go test, packages" go test -race -count=1 -timeout 20m $(go list ./... | grep -v /tests)
		section "go test, black box" go test -race -count=1 -p 1 -timeout 20m ./tests/...
	fi
else
	failed+=("go test (not run: no gateway)")
fi

if [ ${#failed[@]} -gt 0 ]; then
	printf '\nFAILED in %d s: %s\n' $SECONDS "$(printf '%s; ' "${failed[@]}")"
	exit 1
fi
printf '\nall passed in %d s\n' $SECONDS
