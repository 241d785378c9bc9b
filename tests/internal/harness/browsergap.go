package harness

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
)

// PlainPage is a window that does nothing but publish or play one stream: no
// reconnecting, no cleverness. What it shows is what the far side did.
type PlainPage struct {
	*Page
}

// plainScript makes a WHIP or WHEP client. Frames are noted as they are
// handed to the screen, requests as they are sent.
const plainScript = `
window.__fetches = [];
window.__frames = [];
window.__start = async (url, codec) => {
	const publish = codec !== null;
	const pc = new RTCPeerConnection();
	window.__video = document.querySelector('video');
	if (publish) {
		const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 320, height: 240, frameRate: 30}});
		for (const track of media.getTracks()) {
			const tr = pc.addTransceiver(track, {direction: 'sendonly', streams: [media]});
			if (track.kind !== 'video') continue;
			const all = RTCRtpSender.getCapabilities('video').codecs;
			const mine = all.filter((c) => c.mimeType.toLowerCase() === 'video/' + codec.toLowerCase());
			if (mine.length === 0) throw new Error('this browser cannot encode ' + codec);
			tr.setCodecPreferences([...mine, ...all.filter((c) => c.mimeType === 'video/rtx')]);
		}
	} else {
		const media = new MediaStream();
		window.__video.srcObject = media;
		pc.ontrack = (e) => media.addTrack(e.track);
		pc.addTransceiver('video', {direction: 'recvonly'});
		pc.addTransceiver('audio', {direction: 'recvonly'});
		const note = () => { window.__frames.push(performance.timeOrigin + performance.now()); window.__video.requestVideoFrameCallback(note); };
		window.__video.requestVideoFrameCallback(note);
	}
	await pc.setLocalDescription();
	await new Promise((done) => {
		if (pc.iceGatheringState === 'complete') return done();
		pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
	});
	window.__fetches.push(performance.timeOrigin + performance.now());
	const res = await fetch(url, {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp});
	const body = await res.text();
	if (res.status !== 201) throw new Error('status ' + res.status + ': ' + body);
	window.__links = res.headers.get('Link') ?? '';
	await pc.setRemoteDescription({type: 'answer', sdp: body});
	return true;
};`

// PlayWHEP plays a WHEP endpoint in a window of its own.
func (b *Browser) PlayWHEP(t testing.TB, endpoint string) *PlainPage {
	t.Helper()
	return b.plain(t, endpoint, "null")
}

// PublishWHIP publishes the fake camera and microphone to a WHIP endpoint, with
// a codec by its encoding name.
func (b *Browser) PublishWHIP(t testing.TB, endpoint, codec string) *PlainPage {
	t.Helper()
	return b.plain(t, endpoint, fmt.Sprintf("%q", codec))
}

func (b *Browser) plain(t testing.TB, endpoint, codec string) *PlainPage {
	t.Helper()
	p := &PlainPage{b.openBlank(t, endpoint)}
	p.Eval(fmt.Sprintf("window.__start(%q, %s)", endpoint, codec), nil)
	Eventually(t, 20*time.Second, endpoint+" is connected in the browser", func() bool {
		var state string
		p.Eval(`window.__pcs[0].connectionState`, &state)
		return state == "connected"
	})
	return p
}

// openBlank opens a window on a page of the endpoint's origin that the browser
// is handed here, not by the server: the origin needs no page and no CORS.
func (b *Browser) openBlank(t testing.TB, endpoint string) *Page {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	at := u.Scheme + "://" + u.Host + "/plain-page-of-the-test"
	html := base64.StdEncoding.EncodeToString([]byte(
		`<!doctype html><link rel="icon" href="data:,"><video autoplay muted playsinline width="320"></video><script>` + plainScript + `</script>`))
	p := b.Open(t, "about:blank")
	chromedp.ListenTarget(p.ctx, func(ev any) {
		if e, ok := ev.(*fetch.EventRequestPaused); ok {
			go func() { // the listener must not block
				_ = chromedp.Run(p.ctx, fetch.FulfillRequest(e.RequestID, 200).WithBody(html).
					WithResponseHeaders([]*fetch.HeaderEntry{{Name: "Content-Type", Value: "text/html"}}))
			}()
		}
	})
	err = p.run(60*time.Second,
		fetch.Enable().WithPatterns([]*fetch.RequestPattern{{URLPattern: at}}),
		chromedp.Navigate(at),
		chromedp.ActionFunc(func(ctx context.Context) error { return fetch.Disable().Do(ctx) }))
	if err != nil {
		t.Fatalf("open a plain page: %v", err)
	}
	return p
}

// Reception is what a page has received since it began, by getStats.
type Reception struct {
	At                     time.Time
	VideoSSRC, AudioSSRC   uint32
	FramesDecoded          int
	KeyFramesDecoded       int
	FramesDropped          int
	FreezeCount            int
	Freezes                time.Duration // totalFreezesDuration
	ConcealedSamples       int           // audio that was made up, silence included
	SilentConcealedSamples int
	ConcealmentEvents      int
	SamplesReceived        int
	PacketsLost            int // of both kinds
	PLIs, NACKs            int
	Requests               int // HTTP, by the page
	Peers                  int // peer connections the page ever made
}

const receptionScript = `(async () => {
	const out = {at: performance.timeOrigin + performance.now(), requests: window.__fetches?.length ?? 0, peers: window.__pcs.length};
	for (const pc of window.__pcs) {
		if (pc.connectionState === 'closed') continue;
		for (const s of (await pc.getStats()).values()) {
			if (s.type === 'inbound-rtp') out[s.kind] = s;
		}
	}
	return out;
})()`

// Reception asks for the state of things. For a before and after, ask twice
// and take Since.
func (p *Page) Reception() Reception {
	p.t.Helper()
	type inbound struct {
		SSRC                   uint32  `json:"ssrc"`
		FramesDecoded          int     `json:"framesDecoded"`
		KeyFramesDecoded       int     `json:"keyFramesDecoded"`
		FramesDropped          int     `json:"framesDropped"`
		FreezeCount            int     `json:"freezeCount"`
		FreezeSeconds          float64 `json:"totalFreezesDuration"`
		ConcealedSamples       int     `json:"concealedSamples"`
		SilentConcealedSamples int     `json:"silentConcealedSamples"`
		ConcealmentEvents      int     `json:"concealmentEvents"`
		SamplesReceived        int     `json:"totalSamplesReceived"`
		PacketsLost            int     `json:"packetsLost"`
		PLIs                   int     `json:"pliCount"`
		NACKs                  int     `json:"nackCount"`
	}
	var s struct {
		At       float64 `json:"at"`
		Requests int     `json:"requests"`
		Peers    int     `json:"peers"`
		Video    inbound `json:"video"`
		Audio    inbound `json:"audio"`
	}
	p.Eval(receptionScript, &s)
	v, a := s.Video, s.Audio
	return Reception{
		At: unixMillis(s.At), VideoSSRC: v.SSRC, AudioSSRC: a.SSRC, Requests: s.Requests, Peers: s.Peers,
		FramesDecoded: v.FramesDecoded, KeyFramesDecoded: v.KeyFramesDecoded, FramesDropped: v.FramesDropped,
		FreezeCount: v.FreezeCount, Freezes: time.Duration(v.FreezeSeconds * float64(time.Second)),
		ConcealedSamples: a.ConcealedSamples, SilentConcealedSamples: a.SilentConcealedSamples,
		ConcealmentEvents: a.ConcealmentEvents, SamplesReceived: a.SamplesReceived,
		PacketsLost: v.PacketsLost + a.PacketsLost, PLIs: v.PLIs, NACKs: v.NACKs + a.NACKs,
	}
}

// Since is what was added since an earlier Reception: the counts are
// differences, the SSRCs and the moment are those of now.
func (r Reception) Since(before Reception) Reception {
	r.FramesDecoded -= before.FramesDecoded
	r.KeyFramesDecoded -= before.KeyFramesDecoded
	r.FramesDropped -= before.FramesDropped
	r.FreezeCount -= before.FreezeCount
	r.Freezes -= before.Freezes
	r.ConcealedSamples -= before.ConcealedSamples
	r.SilentConcealedSamples -= before.SilentConcealedSamples
	r.ConcealmentEvents -= before.ConcealmentEvents
	r.SamplesReceived -= before.SamplesReceived
	r.PacketsLost -= before.PacketsLost
	r.PLIs -= before.PLIs
	r.NACKs -= before.NACKs
	r.Requests -= before.Requests
	r.Peers -= before.Peers
	return r
}

func unixMillis(ms float64) time.Time { return time.UnixMicro(int64(ms * 1000)) }

// AwaitFrames waits until the page has decoded n more frames than now.
func (p *PlainPage) AwaitFrames(n int, within time.Duration) {
	p.t.Helper()
	from := p.Reception().FramesDecoded
	Eventually(p.t, within, fmt.Sprintf("%d more frames decoded in the browser", n), func() bool {
		return p.Reception().FramesDecoded >= from+n
	})
}

// Shown are the moments at which the page's player showed a new frame.
func (p *PlainPage) Shown() (out []time.Time) {
	p.t.Helper()
	var ms []float64
	p.Eval(`window.__frames`, &ms)
	for _, m := range ms {
		out = append(out, unixMillis(m))
	}
	return out
}

// ShownGap is the longest time without a new frame on the page, among those
// that end after the event and begin within the window after it.
func (p *PlainPage) ShownGap(event time.Time, window time.Duration) Gap {
	p.t.Helper()
	until := event.Add(window)
	if now := time.Now(); now.Before(until) {
		until = now
	}
	return largestGap(p.Shown(), event, until)
}
