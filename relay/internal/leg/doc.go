// Package leg is one peer's transport below PeerConnection: ICE, DTLS-SRTP and
// the sockets. Publishers, viewers and upstreams use it. With the former the
// peer made the offer and has to find us (server side); with upstreams we made
// it and have to find the peer (controlling, the last section but one).
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
// A leg on the server side costs neither goroutine nor timer until its peer
// speaks DTLS. The packet path takes the leg's receive lock once per run of
// packets, one map lookup, and does not allocate. The lock order is leg, then
// hop or transport or consent.
//
// # ICE, server side
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
//     with the peer's password. On the server side the check is sent whenever
//     an authentic check comes from an unproven address, and repeated four
//     times; or
//   - the DTLS handshake completed while all that we sent of it went to this
//     address: our random in the hello is known to nobody else; or
//   - it is the other end of a TCP connection.
//
// Media goes to proven addresses only. All that goes to an unproven one
// (answers, challenges, DTLS) is at most three times the bytes that came
// from it, as in RFC 9000 8.1, plus 1200 bytes once per leg for all of its
// addresses together: less than the offer that made the leg. With that DTLS
// can do without HelloVerifyRequest and its round trip. The checks of a
// controlling leg are not in this account but bounded by themselves, see there.
//
// An address that has proven itself for one leg cannot be taken by another
// while it is in use, whatever authentic check claims to come from it.
//
// # Which path, server side
//
// The selected path is the proven one that the peer nominated last. It also
// changes when the peer's authentic media comes from another proven address (a
// peer sends media on the pair it uses), when a new address proves itself for
// the same pair and the old one has been silent since (NAT rebinding: a round
// trip after the first check), when the old path is silent for 4 s, and when
// its TCP connection is gone. A leg has at most 16 addresses; the one that is
// longest silent makes room.
//
// # Controlling
//
// A leg with Params.Controlling is a full agent with host candidates only. It
// sends checks to the addresses of the peer's answer, and to those from which
// the peer checks us, at most 24 pairs, 16 of them from the answer. The checks
// start 20 ms apart; each is repeated after 100, 200, 400 ms and so on up to
// 1.6 s, for 20 s, then every 5 s until Close: an address named by an answer
// gets 17 short datagrams in that time and nothing else before it answers one.
// The answer came over authenticated HTTPS, so a stranger cannot aim them.
//
// The first pair that answers is selected, after at most 50 ms in which one
// that the peer prefers may still answer. It is nominated by the next check and
// by every later one on it; a peer with one address is nominated by the first
// check, which saves a round trip (RFC 8445 8.1.1 leaves the moment to us).
// Then the path is final: who loses it makes a new leg. A peer that claims the
// controlling role, too, is handled by RFC 8445 7.3.1.1; if it wins, it
// nominates and the rules of the server side hold.
//
// Two sessions cannot share a pair of addresses, because DTLS and media are told
// apart by address alone, and many peers have one port for all sessions. A leg
// therefore reserves its peer's addresses at a socket. Where another leg has one
// of them, or had it in the last minute, it opens a socket of its own (same
// local address, any port), as it does when no shared one got an answer in
// 500 ms. For the same reason an offer must not name our shared sockets: a peer
// that sends checks from its one port to there would confuse the sessions. A peer
// needs no candidates of ours to answer our checks.
//
// If nothing answered for 1 s, or there is no UDP address that the system has a
// route to, up to two passive ICE-TCP candidates are dialed (RFC 6544) and
// checked as well.
//
// On the selected pair a check is sent about every second, at random intervals
// (RFC 7675). [Leg.Unanswered] tells for how long they have not been answered,
// [Leg.Probe] sends one now. After 30 s consent has expired: there is no path
// any more and HandleEnd gets ErrLost, as when a TCP connection ends, which is
// known at once. A peer that never answers causes neither path nor HandleEnd,
// and neither does one that never begins DTLS: the owner needs a time-out for
// the setup.
//
// # DTLS
//
// Version 1.2 by pion, both roles. As client a controlling leg begins with the
// selected pair, one on the server side with the first check of the peer's. The
// peer's certificate has to match one of the fingerprints of its SDP, or the
// handshake fails. The number of handshakes that compute at once is bounded by
// half of the cores, so that a storm of joins leaves room for media. A
// handshake that waits for its peer is not counted: peers that stall would keep
// the others out. After the handshake unprotected records are dropped, because
// pion would obey a forged alert in one. Media that overtakes the end of the
// handshake is kept, up to 64 packets.
package leg
