package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

// disaster is two vendors that have the same stream: a publisher sends it to an
// origin gateway, which pushes it to both, and an edge gateway pulls it from
// them for the viewers. Everything is on one host.
type disaster struct {
	t            *testing.T
	vendors      map[string]*harness.Vendor
	origin, edge *harness.Gateway
	publisher    *harness.Publisher
	stream       string
}

// plan is what a test may choose of it.
type plan struct {
	standby   string // hot unless said
	gateways  string // address of their media
	failover  string // lines of that block of the edge
	upstream  string // lines of each upstream's block
	a, b      harness.VendorOptions
	publisher harness.PublisherConfig
	absent    bool              // the test publishes itself
	behave    harness.Behaviour // of both vendors, from the beginning
}

func newDisaster(t *testing.T, o plan) *disaster {
	t.Helper()
	if o.standby == "" {
		o.standby = "hot"
	}
	d := &disaster{t: t, stream: "show", vendors: map[string]*harness.Vendor{
		"a": harness.StartVendor(t, o.a), "b": harness.StartVendor(t, o.b),
	}}
	for _, v := range d.vendors {
		v.Set(o.behave)
	}
	upstreams := d.upstreams(o.upstream)
	d.origin = harness.Start(t, harness.Config{App: upstreams + "timeouts {\ngrace 2s\n}\n", Handler: "push mirror a b", Host: o.gateways})
	d.edge = harness.Start(t, harness.Config{
		App: upstreams, Host: o.gateways,
		Handler: fmt.Sprintf("pull %s a b {\nlinger 1s\n}\nfailover {\n%s\n}", o.standby, o.failover),
	})
	// Connections that are kept to a vendor end with it, ahead of the gateways'
	// check for leaks.
	t.Cleanup(func() {
		for _, v := range d.vendors {
			v.Kill()
		}
	})
	if !o.absent {
		d.publisher = d.origin.Publish(t, d.stream, o.publisher)
		d.awaitVendors()
	}
	return d
}

// awaitVendors waits until all vendors have the stream.
func (d *disaster) awaitVendors() {
	d.t.Helper()
	for _, v := range d.vendors {
		v.AwaitStream(d.stream)
	}
}

// upstreams is the part of the Caddyfile that describes the vendors.
func (d *disaster) upstreams(more string) string {
	var b strings.Builder
	for _, name := range []string{"a", "b"} {
		v := d.vendors[name]
		fmt.Fprintf(&b, "upstream %s {\nvendor whip\nwhip %s\nwhep %s\n%s\n}\n", name, v.WHIP("{stream}"), v.WHEP("{stream}"), more)
	}
	return b.String()
}

// awaitProgram waits until viewers get what so many vendors deliver, and returns
// whose it is.
func (d *disaster) awaitProgram(flowing int, within time.Duration) (name string) {
	d.t.Helper()
	d.edge.AwaitStream(d.t, d.stream, within, fmt.Sprintf("the program flows, and that of %d vendors does", flowing), func(s harness.LiveStream) bool {
		name = s.Program()
		return name != "" && len(s.Flowing()) == flowing
	})
	return name
}

func other(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

// watch starts a viewer at the edge and measures it.
func (d *disaster) watch() (*harness.Viewer, *harness.GapMeter) {
	d.t.Helper()
	v := d.edge.View(d.t, d.stream, harness.ViewerConfig{})
	m := harness.Measure(v, d.publisher)
	m.Window = 2 * time.Second
	v.AwaitVideo(d.t, 50, 20*time.Second)
	return v, m
}

// runs is how often something is repeated: all of it with WTN_LONG=1, else so
// often as a quick test permits.
func runs(long, short int) int {
	if os.Getenv("WTN_LONG") == "1" {
		return long
	}
	return short
}

// requireRecovery judges what one failure did to a viewer.
func requireRecovery(t *testing.T, what string, i harness.Interruption) {
	t.Helper()
	t.Logf("%s: %s", what, i)
	// The window may end in any pause, as of a publisher that its host lets wait.
	gone := func(g harness.Gap) bool { return g.Open && g.Length() > 500*time.Millisecond }
	if gone(i.Video) || gone(i.Audio) {
		t.Errorf("%s: the media has not come back", what)
	}
	if i.Requests != 0 || i.SSRCChanges != 0 {
		t.Errorf("%s: the viewer sent %d requests and saw %d changes of SSRC", what, i.Requests, i.SSRCChanges)
	}
}

// requireSameTracks: the viewer has had one track of each kind, and one unbroken
// timeline from the beginning to the end.
func requireSameTracks(t *testing.T, v *harness.Viewer) {
	t.Helper()
	// A takeover while the host stalls takes that into the timeline, and a chain
	// of five processes stalls easily where others are busy, too.
	const pace = time.Second
	for _, x := range harness.Check(v.Video(), harness.Rules{Codec: harness.H264, Pace: pace}) {
		if x.Fault != harness.FaultMarker || !keyAfter(v.Video(), x.Index) {
			t.Errorf("viewer: %s", x)
		}
	}
	harness.RequireContinuous(t, "viewer", v.Audio(), harness.Rules{Codec: harness.Opus, Pace: pace})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if n := v.Tracks(kind); n != 1 {
			t.Errorf("%d %s tracks appeared", n, kind)
		}
	}
	if v.HasEnded() {
		t.Error("the viewer's session has ended")
	}
}

// keyAfter: the frame after packet i is a key frame. A vendor that dies between
// two packets of a frame tears it, and so does a key frame that comes in between
// where viewers go back to its vendor; nothing that follows needs what was torn.
func keyAfter(pkts []harness.Packet, i int) bool {
	frames := harness.Frames(pkts[i+1:])
	return len(frames) > 0 && frames[0].Keyframe(webrtc.MimeTypeH264)
}

// figures are those of all runs of a test.
type figures struct {
	resumed, video, audio, publisher harness.Durations
}

func (f *figures) add(m *harness.GapMeter, i harness.Interruption) {
	f.resumed = append(f.resumed, resumed(m.Frames(), i.Event))
	f.video = append(f.video, i.Video.Length())
	f.audio = append(f.audio, i.Audio.Length())
	f.publisher = append(f.publisher, i.Publishers[0].Video.Length())
}

// resumed is how long after a failure viewers could decode a frame again. What is
// still on its way from the dead comes within lastWords: to look
// there would be no time at all.
func resumed(frames []harness.DecodableFrame, failure time.Time) time.Duration {
	const lastWords = 100 * time.Millisecond
	for _, f := range frames {
		if f.At.After(failure.Add(lastWords)) {
			return f.At.Sub(failure)
		}
	}
	return time.Hour
}

// require prints them and holds the time from the failure to the first
// decodable frame against its limit.
func (f *figures) require(t *testing.T, what string, limit time.Duration) {
	t.Helper()
	t.Logf("%s, one host, loopback:\n  failure to first decodable frame: %s\n  gap of video: %s\n  gap of audio: %s\n  the publisher's own gap of video: %s",
		what, f.resumed, f.video, f.audio, f.publisher)
	if p95 := f.resumed.Quantile(0.95); p95 > limit {
		t.Errorf("%s: p95 from the failure to the first decodable frame is %s, want at most %s", what, p95, limit)
	}
}

// atAnyMoment lets some time pass, so that failures come anywhere within groups
// of pictures, and not just after both vendors have got one.
func atAnyMoment(t *testing.T, v *harness.Viewer) {
	t.Helper()
	v.Record(t, 2*time.Second+rand.N(time.Second))
}

// A vendor fails while another one has the same stream: the viewers go on with
// that, in the sessions they have.
func TestFailoverHot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		runs int
		fail func(*harness.Vendor)
		mend func(*harness.Vendor)
	}{
		{"killed", runs(20, 4), (*harness.Vendor).Kill, (*harness.Vendor).Restart},
		{"stopped", runs(20, 6), (*harness.Vendor).Stop, (*harness.Vendor).Cont},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDisaster(t, plan{failover: "failback manual"})
			v, m := d.watch()
			var f figures
			for k := range c.runs {
				d.awaitProgram(2, 60*time.Second)
				atAnyMoment(t, v)
				dead := d.awaitProgram(2, 60*time.Second)
				at := time.Now()
				c.fail(d.vendors[dead])
				m.Await(t, at, 10*time.Second)
				i := m.Interruption(at)
				f.add(m, i)
				requireRecovery(t, fmt.Sprintf("run %d, %s", k, dead), i)
				if now := d.awaitProgram(1, 5*time.Second); now != other(dead) {
					t.Errorf("run %d: after the failure of %s the program is that of %q", k, dead, now)
				}
				c.mend(d.vendors[dead])
			}
			requireSameTracks(t, v)
			f.require(t, "hot, vendor "+c.name, 500*time.Millisecond)
			requireTakeovers(t, d.edge, c.runs, "relative", "transport")
		})
	}
}

// The vendor's network drops everything, and comes back later: nobody is told of
// either. The stream goes back to the vendor when it has been well for a while.
func TestFailoverHotNetworkDropped(t *testing.T) {
	t.Parallel()
	n := harness.NewNamespace(t)
	d := newDisaster(t, plan{
		failover: "failback_delay 1s", gateways: n.Local,
		a: harness.VendorOptions{Host: n.Host, Namespace: n.Name}, b: harness.VendorOptions{Host: n.Local},
	})
	v, m := d.watch()
	var f figures
	count := runs(5, 2)
	for k := range count {
		harness.Eventually(t, 60*time.Second, "the program is that of a", func() bool { return d.awaitProgram(2, 60*time.Second) == "a" })
		atAnyMoment(t, v)
		at := time.Now()
		n.Cut()
		m.Await(t, at, 10*time.Second)
		i := m.Interruption(at)
		f.add(m, i)
		requireRecovery(t, fmt.Sprintf("run %d", k), i)
		if now := d.awaitProgram(1, 5*time.Second); now != "b" {
			t.Errorf("run %d: without its network the program is that of %q", k, now)
		}
		n.Mend()
	}
	requireSameTracks(t, v)
	f.require(t, "hot, network dropped", 500*time.Millisecond)
	requireTakeovers(t, d.edge, 2*count-1, "relative", "transport", "failback")
}

// requireTakeovers: so many, for these causes only.
func requireTakeovers(t *testing.T, g *harness.Gateway, n int, causes ...string) {
	t.Helper()
	list := g.Takeovers("show")
	if len(list) != n {
		t.Errorf("%d takeovers, want %d", len(list), n)
	}
	for _, x := range list {
		if !slices.Contains(causes, x.Cause) {
			t.Errorf("a takeover because of %q: %+v", x.Cause, x)
		}
	}
}

// The second vendor is only asked when it is needed, over a round trip of 50 ms:
// one for the connection, one for the request, and all of ICE and DTLS.
func TestFailoverCold(t *testing.T) {
	t.Parallel()
	const roundTrip = behaviour.Millis(50)
	far := harness.Behaviour{HTTPDelay: 2 * roundTrip, Media: harness.MediaFault{WireDelay: roundTrip}}
	d := newDisaster(t, plan{standby: "cold", failover: "failback manual", behave: far})
	v, m := d.watch()
	var f figures
	for k := range runs(20, 3) {
		dead := d.awaitProgram(1, 60*time.Second)
		next := d.vendors[other(dead)]
		// The origin asks a vendor that died often less and less often.
		next.Await(60*time.Second, "the stream is there", func(s harness.VendorState) bool {
			return slices.ContainsFunc(s.Live(behaviour.Publish, d.stream), func(l behaviour.Live) bool { return l.Packets > 20 })
		})
		d.edge.AwaitStream(t, d.stream, 60*time.Second, "the other vendor can be asked", func(s harness.LiveStream) bool {
			return !slices.ContainsFunc(s.Pulls, func(p harness.Dock) bool { return p.Upstream != dead && (p.State != "waiting" || p.Again > 0) })
		})
		atAnyMoment(t, v)
		if n := next.State().Connected(behaviour.Play, d.stream); n != 0 {
			t.Fatalf("run %d: %d sessions at the standby, which is to be cold", k, n)
		}
		at := time.Now()
		d.vendors[dead].Kill()
		m.Await(t, at, 10*time.Second)
		i := m.Interruption(at)
		f.add(m, i)
		requireRecovery(t, fmt.Sprintf("run %d, %s", k, dead), i)
		d.vendors[dead].Restart()
		d.vendors[dead].Set(far)
	}
	requireSameTracks(t, v)
	f.require(t, "cold, vendor killed, 50 ms round trip", 1500*time.Millisecond)
}
