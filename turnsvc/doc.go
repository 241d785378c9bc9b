// Package turnsvc is a TURN server (RFC 8656) that exists to reach one media gateway and nothing
// else. It knows nothing of that gateway but the addresses of its media.
//
// # The model
//
// Clients arrive at endpoints: UDP addresses (ServeUDP), listeners (Serve), and the Inlet, into which
// a listener shared with HTTPS pushes the connections that turn out to speak TURN. An endpoint has
// ports: each socket of the UDP address, or each stream connection. A port is read by one goroutine,
// which runs its guard. The guard alone looks at what clients send:
//
//	ChannelData, Send ──► data plane ──► hub ──► MediaConn.ReadFrom
//	requests ──► guard: authenticate, judge ──► library: keep the books
//	                                       ◄── verdict; the guard answers
//	MediaConn.WriteTo ──► data plane ──► ChannelData or Data indication ──► client
//
// An allocation has a relayed address in 192.0.2.0/24 or 100::/64, ranges that the internet
// routes nowhere. No socket is opened for it. Its packets appear at MediaConn with that address as
// the source, and what is written to that address at MediaConn goes to the client on the goroutine
// of the writer.
//
// # The sockets of a UDP address
//
// One socket is one goroutine that reads, so ListenUDP opens several that share the address
// (SO_REUSEPORT, on Linux). The kernel spreads the clients over them by a hash of both ends. That hash is
// no promise: it changes while sockets come and go. So the address is what has clients, and its sockets
// are only ways to it: clients.go is their common table, read without a lock. Requests are
// authenticated in parallel and judged one at a time. The sockets end together, with the last
// allocation if the address is drained.
//
// An allocation is found by its 5-tuple: protocol and port are those of the endpoint, the rest is the
// client's address and port, and the address of ours that it sent to. That last part matters for a
// socket that is bound to no address, on a host with several: there each packet is read with
// it (local_linux.go), and what the client gets comes from there, or it would take no notice.
//
// The price of sharing is that anybody of the same user could join; listen_linux.go tells how the
// address stays exclusive.
//
// # Closed by construction
//
// There is no list of forbidden peers to get wrong. A permission is granted only for the address,
// a channel only for the address and port, that equals an advertised media address in family and
// every byte, so no other spelling of an address (IPv4-mapped, 6to4, NAT64) needs a thought. What
// is granted is not trusted: the one function by which a packet leaves an allocation compares its
// destination, address and port, with the media addresses of this moment. And where it leaves to
// is a queue in this process. Config.Open is the exception, off by default, and there the usual
// deny list is compared with what an address says and with what it means.
//
// # The library
//
// pion/turn v3 keeps the books (allocations, permissions, channels, their conflicts and timers).
// library.go is the only file that knows it. It does not see sockets, clients or credentials: each
// question to it is composed afresh from values that were checked, and its answer is a verdict.
// What a client can provoke in it is thereby limited to what a well-behaved client may do. Its
// defects on a public edge, and where they end here:
//
//   - Frames whose length overflows 16 bits make its stream reader spin for ever, dripped frames
//     make it recurse: framing.go reads streams, in one fixed buffer, up to 2 KiB a frame.
//   - Idle and half-open connections stay for ever, and Close leaves accepted ones open: stream.go
//     sets the deadline of the next required event, listener.go owns the connections.
//   - 400 for bad credentials, errors without a code, 401 for forbidden peers, silence instead of
//     437, no 441, 442 or 440, unknown attributes ignored: guard.go, auth.go and request.go judge
//     requests and reply.go answers them; the library's own responses are never sent.
//   - A challenge five times the size of its request, to anybody, at any rate: nonces of 16
//     characters bound to the client's address (auth.go), a budget of replies per source (ratelimit.go).
//   - No quota, no bandwidth limit: quota.go, dataplane.go.
//   - A credential that expires ends the allocation it opened: auth.go recognises the owner.
//   - Even ports by trial and error, reservations that are never honoured: request.go, memrelay.go.
//   - A line of log per bad packet: it gets none, and log.go limits the rest.
//   - Ending an allocation while a permission is being added can dereference nil: allocations end only
//     by a question, and questions are serial; its own timers are set later than ours.
//   - All clients of a socket served serially with one lookup, log call and copy after another, and kept
//     by socket: packets do not pass it. Each port's goroutine relays its own, without locks or garbage,
//     and what it knows of clients it shares with the other sockets of the address.
//
// # What survives what
//
// Apply and SetMediaAddrs change a living server; allocations stay. An endpoint that is drained keeps
// its allocations until their clients leave. An allocation outlives the credential it was made
// with, and ends when the client deletes or forgets it, its connection ends, its user is revoked,
// or the server closes.
//
// # Limits
//
// With several media addresses of one family, packets to a client come from the one it spoke to
// last, since the socket interface of MediaConn has no place for it. On systems other than Linux a UDP
// address has one socket, and where it is bound to no address the system chooses what its answers come
// from. MediaConn is one queue: however many sockets take packets in, they leave by one reader
// unless the media side reads with several. TCP relaying (RFC 6062), mobility,
// reservations and DONT-FRAGMENT are not offered.
package turnsvc
