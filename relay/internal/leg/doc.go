// Package leg is one peer's transport below PeerConnection, server side: ICE,
// DTLS-SRTP and the sockets. Publishers and viewers both use it.
//
// # Model
//
// A [Transport] owns the sockets: UDP sockets, ICE-TCP listeners and packet
// conns in memory (relayed addresses of a TURN server in this process). Each
// has one reader goroutine, each TCP connection one reader and one writer. A
// reader gives each packet to its [Leg]: Binding requests by the ufrag in
// USERNAME, all else by the address it came from. Nothing else that arrives is
// answered, logged or kept; [Stats] counts it.
//
// A leg costs no goroutine until its peer speaks DTLS. The packet path takes
// the leg's receive lock once per run of packets, one map lookup, and does not
// allocate. The lock order is leg, then hop or transport.
//
// # ICE
//
// We answer checks as a lite agent does (RFC 8445 2.5): always controlled,
// host candidates only, a peer that claims the controlled role gets 487. A
// peer that names no role is taken for controlling. Unlike a lite agent we do
// not believe a source address.
//
// # Whom we send to
//
// Who has a session may forge the source of his packets and so name a victim
// as the address to send his media to. Therefore an address is proven only if
//
//   - it answered a check of ours, with its random transaction id and made
//     with the peer's password. The check is sent whenever an authentic check
//     comes from an unproven address, and repeated four times; or
//   - the DTLS handshake completed while all that we sent of it went to this
//     address: our random in the hello is known to nobody else; or
//   - it is the other end of a TCP connection.
//
// Media goes to proven addresses only. All that goes to an unproven one
// (answers, checks of ours, DTLS) is at most three times the bytes that came
// from it, as in RFC 9000 8.1, plus 1200 bytes once per leg for all of its
// addresses together: less than the offer that made the leg. With that DTLS
// can do without HelloVerifyRequest and its round trip.
//
// An address that has proven itself for one leg cannot be taken by another
// while it is in use, whatever authentic check claims to come from it.
//
// # Which path
//
// The selected path is the proven one that the peer nominated last. It also
// changes when the peer's authentic media comes from another proven address (a
// peer sends media on the pair it uses), when a new address proves itself for
// the same pair and the old one has been silent since (NAT rebinding: a round
// trip after the first check), when the old path is silent for 4 s, and when
// its TCP connection is gone. A leg has at most 16 addresses; the one that is
// longest silent makes room.
//
// # DTLS
//
// Version 1.2 by pion, both roles. The peer's certificate has to match one of
// the fingerprints of its SDP, or the handshake fails. The number of
// handshakes that compute at once is bounded by half of the cores, so that a
// storm of joins leaves room for media. A handshake that waits for its peer is
// not counted: peers that stall would keep the others out. After the handshake
// unprotected records are dropped, because pion would obey a forged alert in
// one. Media that overtakes the end of the handshake is kept, up to 64 packets.
package leg
