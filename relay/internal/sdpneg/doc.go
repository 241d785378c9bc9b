// Package sdpneg turns a WHIP or WHEP offer into an answer, without a
// PeerConnection in between.
//
// The gateway is always the answerer, has one bundled transport for each
// session, and never renegotiates (RFC 9725 section 4.4). That makes the whole
// of offer/answer three steps, each a pure function:
//
//	[ParseOffer]          bytes -> Offer: what the peer said, checked and bounded
//	[Publish], [Play]     Offer -> one Choice for each m-section: what we take
//	[Answer]              Offer and Choices -> bytes
//
// ParseOffer is lenient about form (line ends, missing mids, attributes at
// session or media level, lines of no interest) and strict about what a
// session needs: ICE credentials, a usable fingerprint, audio or video.
// Publish and Play hold the policy: the peer's own payload types are kept, a
// publisher's first usable codec wins, a viewer gets the entry closest to what
// the stream sends, and what cannot be carried fails the whole offer instead
// of silently losing a section. Answer writes only what was offered and what
// the gateway honours.
//
// Every failure that is the peer's fault is an [*Error]; its Detail says what
// to change in the offer. All functions are safe for concurrent use.
package sdpneg
