package harness

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// ViewerConfig says what a viewer asks for. The zero value offers
// ViewerCodecs, one video and one audio section.
type ViewerConfig struct {
	PeerOptions
	Codecs           []Codec
	NoVideo, NoAudio bool
	// Lose is asked for each RTP packet that arrives whether the network
	// shall lose it. It sees the encrypted packet; the header is in the clear.
	Lose func(packet []byte) bool
}

// Viewer records what a stream's subscriber gets.
type Viewer struct {
	*peer
	Started time.Time // the POST

	mu      sync.Mutex
	tracks  map[webrtc.RTPCodecType]*trackRecord
	reports []SenderReport
	wg      sync.WaitGroup
}

type trackRecord struct {
	codec  webrtc.RTPCodecParameters
	tracks int // OnTrack calls for this kind
	pkts   []Packet
}

// View starts a viewer and fails the test when it does not connect.
func (g *Gateway) View(t testing.TB, stream string, cfg ViewerConfig) *Viewer {
	t.Helper()
	v, err := g.TryView(t, stream, cfg)
	if err != nil {
		t.Fatalf("view %s: %v", stream, err)
	}
	return v
}

// TryView starts a viewer. It records until the test ends or Close is called.
func (g *Gateway) TryView(t testing.TB, stream string, cfg ViewerConfig) (*Viewer, error) {
	t.Helper()
	v, err := g.newViewer(t, cfg)
	if err != nil {
		return nil, err
	}
	v.Started = time.Now()
	return v, v.connect(g.WHEP(stream), cfg.PeerOptions)
}

func (g *Gateway) newViewer(t testing.TB, cfg ViewerConfig) (*Viewer, error) {
	t.Helper()
	if cfg.Codecs == nil {
		cfg.Codecs = ViewerCodecs()
	}
	v := &Viewer{tracks: map[webrtc.RTPCodecType]*trackRecord{}}
	var err error
	if v.peer, err = newPeer(cfg.PeerOptions, cfg.Codecs, g.client); err != nil {
		return nil, err
	}
	t.Cleanup(v.Close)
	if cfg.Lose != nil && v.wire != nil {
		v.wire.lose.Store(&cfg.Lose)
	}
	v.pc.OnTrack(v.onTrack)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if kind == webrtc.RTPCodecTypeVideo && cfg.NoVideo || kind == webrtc.RTPCodecTypeAudio && cfg.NoAudio {
			continue
		}
		_, err := v.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

// ViewerOffer is the SDP a viewer with this configuration would post.
func (g *Gateway) ViewerOffer(t testing.TB, cfg ViewerConfig) string {
	t.Helper()
	v, err := g.newViewer(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	sdp, err := v.offer(cfg.PeerOptions)
	if err != nil {
		t.Fatal(err)
	}
	return sdp
}

func (v *Viewer) onTrack(tr *webrtc.TrackRemote, rx *webrtc.RTPReceiver) {
	v.mu.Lock()
	rec := v.tracks[tr.Kind()]
	if rec == nil {
		rec = &trackRecord{}
		v.tracks[tr.Kind()] = rec
	}
	rec.codec = tr.Codec()
	rec.tracks++
	v.mu.Unlock()
	v.wg.Add(2)
	go func() {
		defer v.wg.Done()
		v.readRTP(tr, rec)
	}()
	go func() {
		defer v.wg.Done()
		v.readRTCP(rx)
	}()
}

func (v *Viewer) readRTP(tr *webrtc.TrackRemote, rec *trackRecord) {
	for {
		p, attrs, err := tr.ReadRTP()
		if err != nil {
			return
		}
		now := time.Now()
		v.nacks.got(p.SSRC, p.SequenceNumber)
		repaired := attrs != nil && attrs.Get(webrtc.AttributeRtxSsrc) != nil
		if len(p.Payload) == 0 {
			continue // padding
		}
		v.mu.Lock()
		rec.pkts = append(rec.pkts, Packet{
			Arrival: now, Seq: p.SequenceNumber, TS: p.Timestamp, SSRC: p.SSRC, PT: p.PayloadType,
			Marker: p.Marker, Repaired: repaired, Payload: append([]byte(nil), p.Payload...),
		})
		v.mu.Unlock()
	}
}

func (v *Viewer) readRTCP(rx *webrtc.RTPReceiver) {
	for {
		pkts, _, err := rx.ReadRTCP()
		if err != nil {
			return
		}
		now := time.Now()
		for _, p := range pkts {
			sr, ok := p.(*rtcp.SenderReport)
			if !ok {
				continue
			}
			v.mu.Lock()
			v.reports = append(v.reports, SenderReport{Arrival: now, SSRC: sr.SSRC, NTP: sr.NTPTime, RTP: sr.RTPTime})
			v.mu.Unlock()
		}
	}
}

func (v *Viewer) packets(kind webrtc.RTPCodecType) []Packet {
	v.mu.Lock()
	defer v.mu.Unlock()
	rec := v.tracks[kind]
	if rec == nil {
		return nil
	}
	return rec.pkts[:len(rec.pkts):len(rec.pkts)]
}

// Video and Audio are the records so far, in order of arrival.
func (v *Viewer) Video() []Packet { return v.packets(webrtc.RTPCodecTypeVideo) }
func (v *Viewer) Audio() []Packet { return v.packets(webrtc.RTPCodecTypeAudio) }

// Reports are the sender reports so far.
func (v *Viewer) Reports() []SenderReport {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]SenderReport(nil), v.reports...)
}

// Codec is what the answer settled on for a kind, as pion sees it.
func (v *Viewer) Codec(kind webrtc.RTPCodecType) webrtc.RTPCodecParameters {
	v.mu.Lock()
	defer v.mu.Unlock()
	if rec := v.tracks[kind]; rec != nil {
		return rec.codec
	}
	return webrtc.RTPCodecParameters{}
}

// Tracks counts the tracks that ever appeared; more than one of a kind means
// a new SSRC.
func (v *Viewer) Tracks(kind webrtc.RTPCodecType) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if rec := v.tracks[kind]; rec != nil {
		return rec.tracks
	}
	return 0
}

// AwaitVideo waits until the record holds n more video packets than now.
func (v *Viewer) AwaitVideo(t testing.TB, n int, within time.Duration) {
	t.Helper()
	v.await(t, "video", v.Video, n, within)
}

// AwaitAudio waits until the record holds n more audio packets than now.
func (v *Viewer) AwaitAudio(t testing.TB, n int, within time.Duration) {
	t.Helper()
	v.await(t, "audio", v.Audio, n, within)
}

func (v *Viewer) await(t testing.TB, what string, get func() []Packet, n int, within time.Duration) {
	t.Helper()
	from := len(get())
	if !Poll(within, func() bool { return len(get()) >= from+n }) {
		t.Fatalf("%d of %d %s packets within %s (connection %s)", len(get())-from, n, what, within, v.pc.ConnectionState())
	}
}

// Record lets the record grow for a length of time of its own clock: until
// packets have arrived that long after now.
func (v *Viewer) Record(t testing.TB, d time.Duration) {
	t.Helper()
	until := time.Now().Add(d)
	if !Poll(d+10*time.Second, func() bool {
		for _, pkts := range [][]Packet{v.Video(), v.Audio()} {
			if n := len(pkts); n > 0 && pkts[n-1].Arrival.After(until) {
				return true
			}
		}
		return false
	}) {
		t.Fatalf("nothing arrives any more (connection %s)", v.pc.ConnectionState())
	}
}

// AwaitSource waits until media of a publisher arrives.
func (v *Viewer) AwaitSource(t testing.TB, source uint16, within time.Duration) {
	t.Helper()
	Eventually(t, within, fmt.Sprintf("packets of source %d at the viewer", source), func() bool {
		pkts := v.Video()
		if len(pkts) == 0 {
			pkts = v.Audio()
		}
		for i := len(pkts) - 1; i >= 0 && i > len(pkts)-50; i-- {
			if s, _, ok := Stamp(pkts[i].Payload); ok {
				return s == source
			}
		}
		return false
	})
}

// HasLastOf says whether the record holds the newest packet the publisher has
// sent, of each kind of which it holds any.
func (v *Viewer) HasLastOf(p *Publisher) bool {
	return hasLast(v.Video(), p.video) && hasLast(v.Audio(), p.audio)
}

func hasLast(got []Packet, s *sender) bool {
	if len(got) == 0 || s == nil {
		return true
	}
	sent := s.log()
	if len(sent) == 0 {
		return true
	}
	source, n, _ := Stamp(sent[len(sent)-1].Payload)
	for i := len(got) - 1; i >= 0 && i > len(got)-200; i-- {
		if s, m, ok := Stamp(got[i].Payload); ok && s == source && m == n {
			return true
		}
	}
	return false
}

// SendPLI asks for a key frame.
func (v *Viewer) SendPLI() error {
	pkts := v.Video()
	if len(pkts) == 0 {
		return fmt.Errorf("no video yet")
	}
	return v.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: pkts[0].SSRC}})
}

// Vanish ends the viewer like a killed process.
func (v *Viewer) Vanish() {
	if v.wire != nil {
		v.wire.cut.Store(true)
	}
	v.close(false)
	v.wg.Wait()
}

// CloseWithoutDelete closes the peer connection, with the DTLS alert that is
// part of it, and leaves the HTTP resource alone.
func (v *Viewer) CloseWithoutDelete() {
	v.close(false)
	v.wg.Wait()
}

// Close ends the viewer with DELETE.
func (v *Viewer) Close() {
	v.close(true)
	v.wg.Wait()
}
