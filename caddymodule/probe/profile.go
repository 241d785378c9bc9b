package probe

import (
	"fmt"
	"strings"
)

// What a service does to payloads.
const (
	PayloadIdentical  = "identical"    // packets come out as they went in
	PayloadDescriptor = "descriptor"   // packets are the same behind the descriptor of the codec
	PayloadRepacked   = "repacked"     // frames are the same, packets are not
	PayloadOther      = "other"        // nothing of what was sent comes out: it is encoded anew
	PayloadNone       = "none"         // nothing comes out
	PayloadUnknown    = "not compared" // somebody else's stream
)

// What a service does to timestamps and sequence numbers.
const (
	NumbersSame     = "same"
	NumbersOffset   = "constant offset"
	NumbersChanging = "changing"
	NumbersOwn      = "own" // of packets that are its own
	NumbersUnknown  = "unknown"
)

// Profile is what a probe has found. Times are milliseconds.
type Profile struct {
	Upstream string  `json:"upstream"`
	Vendor   string  `json:"vendor"`
	Server   string  `json:"server,omitempty"` // what it calls itself
	Stream   string  `json:"stream"`
	Seconds  float64 `json:"seconds"` // of media

	Options *Reply   `json:"options,omitempty"` // of OPTIONS, as health checks ask it
	Push    *Session `json:"push,omitempty"`    // nil: not tried
	Pull    *Session `json:"pull,omitempty"`

	Video     *Media     `json:"video,omitempty"`
	Audio     *Media     `json:"audio,omitempty"`
	Skew      *float64   `json:"skew_ms,omitempty"` // how much later video comes than audio, by medians
	Keyframes *Keyframes `json:"keyframes,omitempty"`

	Problems []string `json:"problems"` // why this service cannot be used, or not well
	Notes    []string `json:"notes"`    // what to know of it
}

// Reply is how one request was answered.
type Reply struct {
	Status int     `json:"status"` // 0: not at all
	Took   float64 `json:"ms"`
	Error  string  `json:"error,omitempty"`
}

// Session is one session at the service.
type Session struct {
	Post      Reply    `json:"post"`
	Tries     int      `json:"tries"` // a pull may come before the stream is there
	Located   bool     `json:"located"`
	ETag      bool     `json:"etag"`
	ICE       float64  `json:"ice_ms"`  // from the answer
	DTLS      float64  `json:"dtls_ms"` // likewise
	Audio     []string `json:"audio_codecs"`
	Video     []string `json:"video_codecs"`
	Trickle   *Reply   `json:"trickle,omitempty"` // of a PATCH with a candidate
	Restart   *Reply   `json:"restart,omitempty"` // of a PATCH with new credentials of ICE
	Delete    *Reply   `json:"delete,omitempty"`
	StoppedIn *float64 `json:"stopped_ms,omitempty"` // from the DELETE of a pull to its last packet; null: it went on
	Error     string   `json:"error,omitempty"`      // why there is no session
}

// Media is what became of one kind of media.
type Media struct {
	Codec           string  `json:"codec"`
	FramesSent      int     `json:"frames_sent"` // since the first that came
	FramesReceived  int     `json:"frames_received"`
	LossPercent     float64 `json:"loss_percent"` // of whole frames
	PacketsReceived int     `json:"packets_received"`
	FirstFrame      float64 `json:"first_frame_ms"` // from the POST

	Payload          string  `json:"payload"`
	IdenticalPercent float64 `json:"identical_percent"` // of packets

	Timestamps       string `json:"timestamps"`
	TimestampOffsets int    `json:"timestamp_offsets"` // how many different ones were seen
	Sequence         string `json:"sequence"`
	GapsClosed       *bool  `json:"gaps_closed"` // what is lost before it cannot be seen after it; null: not seen

	LatencyP50    float64 `json:"latency_p50_ms"`
	LatencyP99    float64 `json:"latency_p99_ms"`
	SenderReports int     `json:"sender_reports"`
}

// Keyframes is how requests for key frames travel.
type Keyframes struct {
	Asked     int     `json:"asked"`      // by the probe's player
	Passed    int     `json:"passed"`     // of those, that reached the publisher within half a second
	PerMinute float64 `json:"per_minute"` // that the service asked for by itself
}

// OK says whether the service can be used.
func (p *Profile) OK() bool { return len(p.Problems) == 0 }

func (p *Profile) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

func (p *Profile) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

const (
	badLoss    = 2.0  // percent of frames
	badLatency = 1000 // ms, half of the frames
	manyPLIs   = 20   // a minute
)

// judge says what is bad, and what is worth knowing.
func (p *Profile) judge() {
	if o := p.Options; o != nil && o.Error != "" {
		p.problem("health checks fail: %s", o.Error)
	}
	p.Push.judge(p, "push")
	p.Pull.judge(p, "pull")
	for _, m := range []*Media{p.Video, p.Audio} {
		if m != nil {
			m.judge(p)
		}
	}
	k := p.Keyframes
	if k == nil {
		return
	}
	if k.Asked > 0 && k.Passed == 0 {
		p.problem("requests for key frames are not passed on: viewers wait for the publisher's next key frame, and takeovers too")
	} else if k.Passed < k.Asked {
		p.note("%d of %d requests for key frames were passed on within half a second", k.Passed, k.Asked)
	}
	if k.PerMinute > manyPLIs && k.PerMinute*p.Seconds > 60 { // one may be for the first frame
		p.note("it asks for %.0f key frames a minute by itself: that costs bitrate or quality", k.PerMinute)
	}
}

func (s *Session) judge(p *Profile, name string) {
	if s == nil {
		return
	}
	if s.Error != "" {
		p.problem("%s: %s", name, s.Error)
		return
	}
	if !s.Located {
		p.note("%s: the session has no URL, so it ends only when its media stops", name)
	}
	if d := s.Delete; d != nil && (d.Error != "" || d.Status >= 300) {
		p.note("%s: DELETE is answered with %s: sessions stay until they time out", name, d)
	}
	if d := s.Delete; d != nil && d.Status != 0 && d.Status < 300 && name == "pull" && s.StoppedIn == nil {
		p.note("pull: media went on after DELETE")
	}
}

func (m *Media) judge(p *Profile) {
	kind := "video"
	if m.Codec == opus.name {
		kind = "audio"
	}
	switch {
	case m.PacketsReceived == 0:
		p.problem("%s: nothing comes out", kind)
		return
	case m.Payload == PayloadOther:
		p.note("%s: it is encoded anew, so two such services cannot be told to carry the same frames", kind)
	case m.LossPercent > badLoss:
		p.problem("%s: %.1f %% of the frames are lost", kind, m.LossPercent)
	}
	if m.LatencyP50 > badLatency {
		p.problem("%s: half of the frames take longer than %.0f ms", kind, m.LatencyP50)
	}
	if m.GapsClosed != nil && *m.GapsClosed {
		p.note("%s: sequence numbers are made anew without gaps, so what is lost before or inside the service does not show", kind)
	}
	if m.Timestamps == NumbersChanging {
		p.note("%s: timestamps jump against those of the publisher (%d offsets)", kind, m.TimestampOffsets)
	}
	if m.SenderReports == 0 {
		p.note("%s: no RTCP sender reports come with it, so players cannot keep lips in sync exactly", kind)
	}
}

// String is for people.
func (r *Reply) String() string {
	switch {
	case r == nil:
		return "not asked"
	case r.Status == 0:
		return strings.TrimSpace("no reply: " + r.Error)
	}
	return fmt.Sprintf("%d in %.0f ms", r.Status, r.Took)
}
