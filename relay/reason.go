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
	ReasonKicked        Reason = "kicked"         // the operator ended it
	ReasonExit          Reason = "exit"           // the process ends
)
