// Package caddymodule makes the gateway a Caddy v2 plugin. It is the only
// package of this repository that knows Caddy, and the only one that speaks
// HTTP.
//
// # What lives how long
//
// Caddy provisions and starts a new configuration before it stops the old one,
// and throws the new one away when any app refuses to start. Media must not
// notice either, so things are split by lifetime:
//
//   - [App] and [Handler] live as long as one configuration. They hold settings.
//   - The state (state.go) lives as long as the process has a configuration with
//     the wtn app. It sits in a [caddy.UsagePool] under one fixed key, whatever
//     the settings say, and holds the hub, the media sockets, the metrics and
//     the event emitter.
//   - Sessions live in the hub and hold nothing of a configuration: logger and
//     observer are swapped underneath them.
//
// Provision takes a reference and opens nothing, so `caddy validate` works
// beside a running server. Start binds the sockets the configuration wants and
// does not have yet, which is all that can fail, and puts the configuration as
// a generation (settings, logger, event target, sockets) at the end of the
// state's queue. The first of the queue rules. Stop and Cleanup take a
// generation out, wherever it is. When Caddy accepts a reload it stops the old
// configuration, so the new one moves up and rules; when it refuses the reload,
// the new one leaves from the end and has changed nothing, and its sockets are
// closed without any session ever having seen them.
//
// A socket is retired when no generation wants it any more: it takes no new
// session and is closed when the sessions that may use it have ended.
//
// # The way of a request
//
// [Handler] cuts its prefix off the path and looks the first segment up in the
// table of routes (routes.go). A route knows its methods and its face: the way
// it words errors, problem details for WHIP and WHEP, plain text for WTN. All
// faces end in the same sessions of the same hub. What is not in the table is
// a file of the console or goes on to the next handler.
//
// # TURN
//
// The TURN server (package turnsvc; turn*.go, front.go and listener.go here) is
// on unless switched off. Like the hub it is the state's: the first
// configuration that wants it makes it, later ones change it, and allocations
// outlive reloads. It is reached at sockets of its own, and at the HTTPS ports
// of servers with the listener wrapper [ListenerWrapper], which sorts
// connections by their first bytes and hands those that speak TURN over. What
// is relayed ends in memory at the hub, so no packet leaves the process through
// it; [TURNOpen] is the exception, and off by default.
//
// A session is told of the server, with a credential that ends with it, in the
// Link headers of its reply (iceservers.go). Servers of the operator's follow,
// and last those of services that are asked ([ICEServerAPI]), which may cost
// time, at most two seconds, but never a session.
package caddymodule
