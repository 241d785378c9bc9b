package relay

import "github.com/talwtn/caddy-wtn/relay/internal/sdpneg"

// play decides about a subscriber's offer: by what the stream sends, or, for a
// subscriber that is held until somebody publishes, by what it could send. The
// answer of the latter confirms every configuration that both sides know; the
// first publisher gives them their places (see learn), and one that sends none
// of them ends the session (see taken). The hub's lock is held.
func (st *stream) play(o *sdpneg.Offer) ([]sdpneg.Choice, error) {
	if st.publisher == nil {
		return sdpneg.PlayAny(o)
	}
	return sdpneg.Play(o, st.codecs())
}

// mute is how the session begins.
func (r *OfferRequest) mute() (m Mute) {
	if r.MuteAudio {
		m.Audio = &r.MuteAudio
	}
	if r.MuteVideo {
		m.Video = &r.MuteVideo
	}
	return m
}
