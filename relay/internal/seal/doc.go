// Package seal protects the media of one session: SRTP outgoing, SRTP incoming,
// and SRTCP both ways, for the two profiles every WebRTC peer offers.
//
// The outgoing side is what a viewer costs, so it is written for that case. The
// caller has one clear packet shared by all viewers and one header of this
// viewer: [Sealer.Seal] takes the header already in place, encrypts the shared
// payload straight into the bytes behind it and appends the tag. Nothing is
// copied, parsed, looked up or allocated, and there is no state per SSRC: the
// caller names the packet by its 48-bit index.
//
// That makes the caller responsible for the one rule that must not be broken.
// Under AES-GCM an (SSRC, index) pair is the nonce (RFC 7714 section 8.1). Sealing two
// different packets under one pair, be it only a header extension that changed, lets
// an observer solve for the authentication key, that is, forge at will, and gives
// away the XOR of the payloads if they differ. Therefore a resend on the same SSRC has
// to be byte-identical before sealing, header included (sealing is deterministic, so
// the wire bytes are then identical too), and anything that changes a byte has to
// travel on another SSRC: RTX, RFC 4588. AES-CM reuses its key stream in the same
// case, which is as bad for the payload.
//
// The incoming side is paid once per session or publisher. [Opener] and
// [RTCPSealer] are thin shells over pion/srtp, which add a bound on the number of
// SSRCs (its contexts keep state for each and forget none) and buffers that are
// reused.
package seal
