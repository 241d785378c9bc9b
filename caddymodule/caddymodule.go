package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddy.RegisterModule(App{})
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(Admin{})
	caddy.RegisterModule(ListenerWrapper{})

	httpcaddyfile.RegisterGlobalOption("wtn", parseAppOption)
	httpcaddyfile.RegisterDirective("wtn", parseHandlerDirective)
	httpcaddyfile.RegisterDirectiveOrder("wtn", httpcaddyfile.Before, "reverse_proxy")

	caddycmd.RegisterCommand(command())
}
