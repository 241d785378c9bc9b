package harness

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// GapMeter measures interruptions as a viewer sees them. It looks at the
// viewer's record when it is asked, and counts the viewer's HTTP requests from
// the beginning.
type GapMeter struct {
	// Window is how much of the time after an event belongs to it. Default 3 s.
	Window time.Duration
	// TornAtSwitch is for the check of continuity, see Rules.
	TornAtSwitch bool

	viewer     *Viewer
	publishers []*Publisher
	requests   *requestCounter
}

// Measure starts to measure a viewer. publishers are those whose media it may
// get: their own pauses are told along with the viewer's.
func Measure(v *Viewer, publishers ...*Publisher) *GapMeter {
	m := &GapMeter{Window: 3 * time.Second, viewer: v, publishers: publishers}
	m.requests = &requestCounter{next: v.client.Transport}
	client := *v.client
	client.Transport = m.requests
	v.client = &client
	return m
}

// requestCounter notes when requests are sent.
type requestCounter struct {
	next http.RoundTripper
	mu   sync.Mutex
	at   []time.Time
}

func (c *requestCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.mu.Unlock()
	if c.next == nil {
		return http.DefaultTransport.RoundTrip(r)
	}
	return c.next.RoundTrip(r)
}

func (c *requestCounter) count(from, to time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.at {
		if !at.Before(from) && !at.After(to) {
			n++
		}
	}
	return n
}

// Gap is a time without something.
type Gap struct {
	From, To time.Time
	// Open: it had not ended when the window did; To is that moment.
	Open bool
}

// Length is how long it was.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

func (g Gap) String() string {
	if g.Open {
		return fmt.Sprintf("%.1fms and going on", float64(g.Length())/1e6)
	}
	return fmt.Sprintf("%.1fms", float64(g.Length())/1e6)
}

// PublisherGap is a publisher's own largest pause in the window.
type PublisherGap struct {
	Source       uint16
	Video, Audio Gap
}

// Interruption is what an event did to a viewer, within the window after it.
type Interruption struct {
	Event, Until time.Time
	// Video is the largest time between two decodable frames, Audio between
	// two packets, of which the second came after the event.
	Video, Audio Gap
	// FramesLost and AudioLost were sent between two that came, both from the
	// same publisher, and were never decodable.
	FramesLost, AudioLost int
	SSRCChanges           int
	Switches              int // of the publisher whose frames are shown
	Requests              int // HTTP, by the viewer
	Violations            []Violation
	Publishers            []PublisherGap
}

// VideoResumed is how long after the event the largest gap of video ended.
func (i Interruption) VideoResumed() time.Duration { return i.Video.To.Sub(i.Event) }

// AudioResumed is the same for audio.
func (i Interruption) AudioResumed() time.Duration { return i.Audio.To.Sub(i.Event) }

// VideoExcess is how much longer the viewer's gap is than the least one of the
// publishers' own: what the machine under test has added, and not a host that
// was busy.
func (i Interruption) VideoExcess() time.Duration {
	return i.excess(i.Video, func(p PublisherGap) Gap { return p.Video })
}

// AudioExcess is the same for audio.
func (i Interruption) AudioExcess() time.Duration {
	return i.excess(i.Audio, func(p PublisherGap) Gap { return p.Audio })
}

func (i Interruption) excess(viewer Gap, of func(PublisherGap) Gap) time.Duration {
	least := time.Duration(-1)
	for _, p := range i.Publishers {
		if g := of(p).Length(); least < 0 || g < least {
			least = g
		}
	}
	return viewer.Length() - max(least, 0)
}

// String is one line for a report of raw values.
func (i Interruption) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "video gap %s (resumed %+.1fms, lost %d), audio gap %s (resumed %+.1fms, lost %d), %d switches, %d ssrc changes, %d requests, %d violations",
		i.Video, float64(i.VideoResumed())/1e6, i.FramesLost, i.Audio, float64(i.AudioResumed())/1e6, i.AudioLost,
		i.Switches, i.SSRCChanges, i.Requests, len(i.Violations))
	for _, p := range i.Publishers {
		fmt.Fprintf(&b, "; publisher %d: video %s, audio %s", p.Source, p.Video, p.Audio)
	}
	return b.String()
}

// Frames are the decodable frames of the viewer so far.
func (m *GapMeter) Frames() []DecodableFrame {
	return DecodableFrames(m.viewer.Codec(webrtc.RTPCodecTypeVideo).MimeType, m.viewer.Video())
}

// Await waits until the viewer can decode frames, and has packets of audio,
// from after the window of an event, of each kind of which it ever got any.
func (m *GapMeter) Await(t testing.TB, event time.Time, within time.Duration) {
	t.Helper()
	until := event.Add(m.Window)
	past := func(pkts []Packet) bool {
		return len(pkts) == 0 || pkts[len(pkts)-1].Arrival.After(until)
	}
	if !Poll(within, func() bool {
		if !past(m.viewer.Video()) || !past(m.viewer.Audio()) {
			return false
		}
		frames := m.Frames()
		return len(m.viewer.Video()) == 0 || len(frames) > 0 && frames[len(frames)-1].At.After(until)
	}) {
		t.Fatalf("no media %s after the event, within %s: %s", m.Window, within, m.Interruption(event))
	}
}

// Interruption measures what an event did, up to the end of its window or to
// now, whichever is earlier. The viewer must be open until then.
func (m *GapMeter) Interruption(event time.Time) Interruption {
	until := event.Add(m.Window)
	if now := time.Now(); now.Before(until) {
		until = now
	}
	out := Interruption{Event: event, Until: until, Requests: m.requests.count(event, until)}
	inside := func(at time.Time) bool { return at.After(event.Add(-time.Second)) && !at.After(until) }
	frames := m.Frames()
	var times []time.Time
	for k, f := range frames {
		times = append(times, f.At)
		if k > 0 && inside(f.At) {
			if f.Source != frames[k-1].Source {
				out.Switches++
			}
			out.FramesLost += m.lostBetween(frames[k-1], f)
		}
	}
	out.Video = largestGap(times, event, until)
	audio := m.viewer.Audio()
	out.Audio = largestGap(arrivals(audio), event, until)
	out.AudioLost = lostAudio(audio, inside)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		m.checkTrack(&out, kind, inside)
	}
	for _, p := range m.publishers {
		g := PublisherGap{Source: p.Source}
		if p.video != nil {
			g.Video = largestGap(sendTimes(p.video), event, until)
		}
		if p.audio != nil {
			g.Audio = largestGap(sendTimes(p.audio), event, until)
		}
		out.Publishers = append(out.Publishers, g)
	}
	return out
}

// checkTrack lets the checker of continuity judge what came around the event.
func (m *GapMeter) checkTrack(out *Interruption, kind webrtc.RTPCodecType, inside func(time.Time) bool) {
	pkts := m.viewer.packets(kind)
	if len(pkts) == 0 {
		return
	}
	rules := Rules{Codec: Codec{RTPCodecParameters: m.viewer.Codec(kind), Kind: kind}, TornAtSwitch: m.TornAtSwitch}
	for _, v := range Check(pkts, rules) {
		if !inside(pkts[v.Index].Arrival) {
			continue
		}
		if v.Fault == FaultSSRC {
			out.SSRCChanges++
		}
		out.Violations = append(out.Violations, v)
	}
}

// lostBetween counts the frames a publisher sent between two of its frames.
func (m *GapMeter) lostBetween(a, b DecodableFrame) (n int) {
	if !a.Stamped || !b.Stamped || a.Source != b.Source {
		return 0
	}
	for _, p := range m.publishers {
		if p.Source != a.Source || p.video == nil {
			continue
		}
		for _, s := range p.video.log() {
			// Each frame ends with a marker, on a stamped packet.
			if _, k, ok := Stamp(s.Payload); ok && s.Marker && k > a.Last && k < b.First {
				n++
			}
		}
	}
	return n
}

// lostAudio counts the packets missing between those that came.
func lostAudio(pkts []Packet, inside func(time.Time) bool) (lost int) {
	got := map[stamped]bool{}
	first := map[uint16]uint32{}
	last := map[uint16]uint32{}
	for _, p := range pkts {
		source, n, ok := Stamp(p.Payload)
		if !ok || !inside(p.Arrival) {
			continue
		}
		if _, have := first[source]; !have {
			first[source] = n
		}
		got[stamped{source, n}] = true
		last[source] = max(last[source], n)
	}
	for source := range first {
		for n := first[source]; n < last[source]; n++ {
			if !got[stamped{source, n}] {
				lost++
			}
		}
	}
	return lost
}

func arrivals(pkts []Packet) (out []time.Time) {
	for _, p := range pkts {
		out = append(out, p.Arrival)
	}
	return out
}

// sendTimes are the moments at which frames had been sent.
func sendTimes(s *sender) (out []time.Time) {
	for _, p := range s.log() {
		if p.Marker || s.codec.Kind == webrtc.RTPCodecTypeAudio {
			out = append(out, p.At)
		}
	}
	return out
}

// largestGap finds the longest time without an event of a kind, among those
// that end after the moment from and begin ahead of the moment to.
func largestGap(times []time.Time, from, to time.Time) (g Gap) {
	times = slices.Clone(times)
	slices.SortFunc(times, time.Time.Compare)
	prev := from
	for _, at := range times {
		if !at.After(from) {
			prev = at
			continue
		}
		if at.After(to) {
			break
		}
		if at.Sub(prev) > g.Length() {
			g = Gap{From: prev, To: at}
		}
		prev = at
	}
	if to.Sub(prev) > g.Length() {
		g = Gap{From: prev, To: to, Open: true}
	}
	return g
}
