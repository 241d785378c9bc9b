package relay

// Reason tells why a session ended. One value per session; the same value
// reaches log, event and metric.
type Reason string

const (
	ReasonDelete        Reason = "delete"         // the client deleted its resource
	ReasonTakeover      Reason = "takeover"       // another publisher took the stream over
	ReasonPublisherGone Reason = "publisher_gone" // the stream's publishing resource ended
	ReasonPeerClosed    Reason = "peer_closed"    // the peer closed DTLS
	ReasonNoConnect     Reason = "no_connect"     // ICE and DTLS did not complete in time
	ReasonConsentLost   Reason = "consent_lost"   // nothing authenticated arrived for too long
	ReasonHandshake     Reason = "handshake"      // DTLS failed: wrong fingerprint, no common profile
	ReasonCodec         Reason = "codec"          // the source went on in a codec this subscriber did not negotiate
	ReasonBitrate       Reason = "bitrate"        // the publisher sent more than it may
	ReasonUpstreamLost  Reason = "upstream_lost"  // the vendor at the other end is gone, or delivers nothing
	ReasonUnused        Reason = "unused"         // nobody needs the upstream's media any more
	ReasonKicked        Reason = "kicked"         // the operator ended it
	ReasonExpired       Reason = "expired"        // the permission it was made by has run out
	ReasonExit          Reason = "exit"           // the process ends
)
