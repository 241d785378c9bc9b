#!/usr/bin/env bash
# Builds ./caddy: Caddy with this checkout as its module. Needs Go and git.
#
#	./xcaddy.sh                 build
#	./xcaddy.sh run [args]      build if needed, then run the gateway; without
#	                            --config it uses Caddyfile.example
#	./xcaddy.sh <command> ...   build if needed, then any other caddy command,
#	                            e.g. ./xcaddy.sh validate --config Caddyfile
#
# CADDY_OUT names another file to build.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${CADDY_OUT:-$here/caddy}
xcaddy_version=v0.4.5

die() {
	echo "xcaddy.sh: $*" >&2
	exit 1
}

# find_xcaddy prints the path of xcaddy, building it in $1 if there is none. It
# is built from a module of its own, so that it stays out of our go.mod.
find_xcaddy() {
	if command -v xcaddy; then
		return
	fi
	mkdir "$1/xcaddy"
	printf 'module xcaddy\n\ngo 1.26\n\nrequire github.com/caddyserver/xcaddy %s\n' "$xcaddy_version" >"$1/xcaddy/go.mod"
	(cd "$1/xcaddy" && go build -mod=mod -o "$1/bin/xcaddy" github.com/caddyserver/xcaddy/cmd/xcaddy) >&2
	echo "$1/bin/xcaddy"
}

build() {
	command -v go >/dev/null || die "Go is missing: install it from https://go.dev/dl/"
	cd "$here"
	local tmp module caddy version=v0.0.0-dev xcaddy escaped
	tmp=$(mktemp -d)
	# shellcheck disable=SC2064 # the path of now
	trap "rm -rf '$tmp' '$out.tmp.$$'" EXIT
	module=$(go list -m)
	caddy=$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
	xcaddy=$(find_xcaddy "$tmp")

	# xcaddy asks the module proxy for this module's versions before it replaces
	# it with this checkout. A proxy of three files on disk answers that, so that
	# the build is the same before, after and without any published version.
	escaped=$(printf %s "$module" | sed 's/[A-Z]/!\L&/g')
	mkdir -p "$tmp/proxy/$escaped/@v"
	echo "$version" >"$tmp/proxy/$escaped/@v/list"
	echo "{\"Version\":\"$version\",\"Time\":\"2020-01-01T00:00:00Z\"}" >"$tmp/proxy/$escaped/@v/$version.info"
	cp go.mod "$tmp/proxy/$escaped/@v/$version.mod"

	echo "building $out from $here with Caddy $caddy" >&2
	if ! GOPROXY="file://$tmp/proxy,$(go env GOPROXY)" GONOSUMDB="$module" GOFLAGS="$(go env GOFLAGS) -buildvcs=false" \
		"$xcaddy" build "$caddy" --with "$module/caddymodule@$version" --replace "$module=$here" \
		--output "$out.tmp.$$" >"$tmp/log" 2>&1; then
		cat "$tmp/log" >&2
		die "the build failed, see above"
	fi
	mv "$out.tmp.$$" "$out" # at once: a running gateway keeps its own file
	rm -rf "$tmp"
	trap - EXIT
}

# stale reports whether the binary is missing or older than what it is built of.
stale() {
	[ ! -x "$out" ] && return 0
	[ -n "$(find "$here" -name .git -prune -o -type f -newer "$out" \
		\( -path "$here/relay/*" -o -path "$here/turnsvc/*" -o -path "$here/caddymodule/*" -o -path "$here/go.*" \) \
		! -name '*_test.go' ! -path '*/testdata/*' -print -quit)" ]
}

if [ $# -eq 0 ]; then
	build
	echo "built $out: try ./xcaddy.sh run" >&2
	exit
fi
if stale; then
	build
fi
if [ "$1" = run ] && ! printf '%s\n' "$@" | grep -qE '^(--config|-c)(=|$)'; then
	shift
	echo "open http://localhost:8080/ in a browser (Ctrl-C ends the gateway)" >&2
	set -- run --config "$here/Caddyfile.example" --adapter caddyfile "$@"
fi
exec "$out" "$@"
