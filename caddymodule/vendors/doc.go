// Package vendors speaks WHIP and WHEP to the services of others, so that
// streams can be pulled from and pushed to them.
//
// Two things are kept apart. A [Vendor] knows one service: which URL to post
// an offer to, how to sign it, what a status of its means, which of its hosts
// belong together. It does no I/O. A [Client] knows HTTP and is the same for
// all of them: it posts, follows redirects, reads answers within limits,
// resolves the session URL and ends the session. To the relay a client is an
// upstream.
//
// Vendors are guest modules in the namespace wtn.vendors. A new one is a type
// with the methods of [Vendor], registered with caddy.RegisterModule and built
// in with xcaddy; with [OptionUnmarshaler] it can be written in a Caddyfile.
//
// # What a server on the other side may make us do
//
// Replies steer the client: redirects and the Location of a session say where
// the next request goes. A server that was taken over could aim it at the
// operator's own network. So a request only ever goes to the host and port of
// a configured URL, to a host of the hosts option, or below a domain of the
// vendor's; in the last case not to a private address that the name may lead
// to. TLS is never given up on the way. Credentials go to the origins of
// configured URLs and nowhere else.
//
// # Secrets
//
// Signed URLs, tokens and session URLs are capabilities. Errors and log entries
// are made of this package's own words: no URL, no header, no text of the
// operating system, and a server's explanation only if every word of it is known.
// What placeholders stood for is kept in fields that are not marshaled, so the
// admin API shows what the operator wrote.
package vendors
