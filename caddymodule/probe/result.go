package probe

import (
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// result compares.
func (r *prober) result() {
	for _, s := range []*session{r.push, r.pull} {
		if s != nil && printable(s.server) {
			r.p.Server = s.server
		}
	}
	if r.end.IsZero() {
		return
	}
	r.p.Seconds = r.end.Sub(r.start).Seconds()
	if r.push != nil {
		r.p.Keyframes = r.keyframes()
	}
	if r.pull == nil {
		return
	}
	r.p.Video = r.media(webrtc.RTPCodecTypeVideo, r.pub.video)
	r.p.Audio = r.media(webrtc.RTPCodecTypeAudio, r.pub.audio)
	if v, a := r.p.Video, r.p.Audio; v != nil && a != nil && v.LatencyP50 > 0 && a.LatencyP50 > 0 {
		skew := v.LatencyP50 - a.LatencyP50
		r.p.Skew = &skew
	}
}

// media compares one kind. nil: there is none.
func (r *prober) media(kind webrtc.RTPCodecType, o *outgoing) *Media {
	in, gen := r.play.track(kind), o.generator()
	if in == nil {
		in = new(incoming)
	}
	if r.push == nil { // somebody else's stream
		if in.codec == "" {
			return nil
		}
		return &Media{Codec: in.codec, PacketsReceived: len(in.got), Payload: PayloadUnknown,
			Timestamps: NumbersUnknown, Sequence: NumbersUnknown, SenderReports: in.reports}
	}
	if gen == nil {
		r.p.note("%s: the service takes no codec that the probe can make (VP8, H264, opus), so it was not tested", kind)
		return nil
	}
	m := compare(gen.until(r.end), in.got, r.pull.posted)
	m.SenderReports = in.reports
	if in.codec != "" && !strings.EqualFold(in.codec, m.Codec) {
		r.p.note("%s: %s was sent, %s comes out", kind, m.Codec, in.codec)
	}
	return m
}

// keyframes tells requests of the player's from those of the service.
func (r *prober) keyframes() *Keyframes {
	list := r.pub.keyRequests(r.start, r.end)
	k := &Keyframes{Asked: len(r.asked)}
	for _, at := range r.asked {
		i := slices.IndexFunc(list, func(t time.Time) bool { return !t.Before(at) && t.Sub(at) < keyPassedIn })
		if i >= 0 {
			k.Passed++
			list = slices.Delete(list, i, i+1)
		}
	}
	k.PerMinute = float64(len(list)) / r.p.Seconds * 60
	return k
}
