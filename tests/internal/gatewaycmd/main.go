// Command gatewaycmd is a Caddy with the gateway's module and the standard
// modules. The test suite builds it when it is given no gateway to test.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/talwtn/caddy-wtn/caddymodule"
)

func main() { caddycmd.Main() }
