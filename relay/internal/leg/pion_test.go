package leg

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talwtn/caddy-wtn/relay/internal/seal"
)

// session is a real PeerConnection connected to a leg.
type session struct {
	pc    *webrtc.PeerConnection
	leg   *Leg
	rec   *recorder
	track *webrtc.TrackLocalStaticRTP // publisher
	media chan *rtp.Packet            // viewer
}

type sessionOptions struct {
	publisher bool
	active    bool
	sha1      bool
	network   webrtc.NetworkType
	candidate string // a=candidate value
}

var sdpValue = func(sdp, name string) string {
	m := regexp.MustCompile(`(?m)^a=` + name + `:(.*?)\r?$`).FindStringSubmatch(sdp)
	if m == nil {
		return ""
	}
	return m[1]
}

func udpCandidate(a netip.AddrPort) string {
	return fmt.Sprintf("1 1 udp 2130706431 %s %d typ host", a.Addr(), a.Port())
}

func newPeerConnection(t *testing.T, o sessionOptions) *webrtc.PeerConnection {
	t.Helper()
	var media webrtc.MediaEngine
	err := media.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, PayloadType: 96,
	}, webrtc.RTPCodecTypeVideo)
	if err != nil {
		t.Fatal(err)
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() || ip.To4() == nil })
	s.SetNetworkTypes([]webrtc.NetworkType{o.network})
	if o.sha1 {
		s.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return pc
}

func startSession(t *testing.T, tr *Transport, o sessionOptions) *session {
	t.Helper()
	pc := newPeerConnection(t, o)
	s := &session{pc: pc, rec: newRecorder(), media: make(chan *rtp.Packet, 64)}
	var err error
	if o.publisher {
		s.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s")
		if err == nil {
			_, err = pc.AddTrack(s.track)
		}
	} else {
		_, err = pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		pc.OnTrack(func(r *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			for {
				p, _, err := r.ReadRTP()
				if err != nil {
					return
				}
				offer(s.media, p)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	offered, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err = pc.SetLocalDescription(offered); err != nil {
		t.Fatal(err)
	}
	hash, value, _ := strings.Cut(sdpValue(offered.SDP, "fingerprint"), " ")
	s.leg, err = tr.NewLeg(Params{
		ID: t.Name(), RemoteUfrag: sdpValue(offered.SDP, "ice-ufrag"), RemotePwd: sdpValue(offered.SDP, "ice-pwd"),
		Fingerprints: []Fingerprint{{hash, value}}, Active: o.active, Handler: s.rec,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.answer(t, tr, o)
	get(t, s.rec.ready, "HandleReady")
	return s
}

// answer sets the hand-made answer.
func (s *session) answer(t *testing.T, tr *Transport, o sessionOptions) {
	t.Helper()
	hash, value := tr.Fingerprint()
	setup, direction := "passive", "sendonly\r\na=ssrc:9 cname:c\r\na=ssrc:9 msid:s v"
	if o.active {
		setup = "active"
	}
	if o.publisher {
		direction = "recvonly"
	}
	sdp := strings.Join([]string{
		"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=ice-lite",
		"a=fingerprint:" + hash + " " + value,
		"m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:0", "a=rtcp-mux", "a=rtpmap:96 VP8/90000",
		"a=setup:" + setup, "a=ice-ufrag:" + s.leg.Ufrag(), "a=ice-pwd:" + s.leg.Pwd(),
		"a=" + direction, "a=candidate:" + o.candidate, "a=end-of-candidates", "",
	}, "\r\n")
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		t.Fatal(err)
	}
}

// publish sends from the PeerConnection until something arrives.
func (s *session) publish(t *testing.T, seq uint16) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		p := &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: seq, SSRC: 1}, Payload: []byte{1, 2, 3}}
		if err := s.track.WriteRTP(p); err != nil {
			t.Fatal(err)
		}
		seq++
		select {
		case <-s.rec.rtp:
			return
		case <-tick.C:
		case <-deadline:
			t.Fatal("no RTP from the publisher")
		}
	}
}

// play sends to the PeerConnection until something arrives.
func (s *session) play(t *testing.T, seq uint16) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		header := append(make([]byte, 0, 64), 0x80, 96, byte(seq>>8), byte(seq), 0, 0, 0, 0, 0, 0, 0, 9)
		sealed, err := s.leg.Sealer().Seal(header, []byte{0x10, 1, 2}, 9, uint64(seq))
		if err != nil {
			t.Fatal(err)
		}
		if err = s.leg.Path().Write(sealed); err != nil {
			t.Fatal(err)
		}
		seq++
		select {
		case <-s.media:
			return
		case <-tick.C:
		case <-deadline:
			t.Fatal("no RTP at the viewer")
		}
	}
}

// hostIPv6 is an address of this host that pion takes: not the loopback one.
func hostIPv6(t *testing.T) netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsGlobalUnicast() {
			return p.Addr()
		}
	}
	t.Skip("SKIPPED: this host has no IPv6 address but ::1, which pion does not use; TestIPv6 covers our side")
	panic("unreachable")
}

func TestPionPeers(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "tcp4"} {
		for _, publisher := range []bool{true, false} {
			for _, variant := range []string{"", "active", "sha1"} {
				if variant != "" && network != "udp4" {
					continue
				}
				name := fmt.Sprintf("%s/publisher=%v/%s", network, publisher, variant)
				t.Run(name, func(t *testing.T) {
					tr := newTransport(t)
					o := sessionOptions{publisher: publisher, active: variant == "active", sha1: variant == "sha1"}
					wanted := network[:3]
					switch network {
					case "udp4":
						o.network = webrtc.NetworkTypeUDP4
						a, _ := serveUDP(t, tr, loopback)
						o.candidate = udpCandidate(a)
					case "udp6":
						o.network = webrtc.NetworkTypeUDP6
						a, _ := serveUDP(t, tr, netip.AddrPortFrom(hostIPv6(t), 0).String())
						o.candidate = udpCandidate(a)
					case "tcp4":
						o.network = webrtc.NetworkTypeTCP4
						a := addrPort(serveTCP(t, tr).Addr())
						o.candidate = fmt.Sprintf("1 1 tcp 1671430143 %s %d typ host tcptype passive", a.Addr(), a.Port())
					}
					s := startSession(t, tr, o)
					if publisher {
						s.publish(t, 1)
						get(t, s.rec.flushed, "flush")
					} else {
						s.play(t, 1)
					}
					if _, _, n := s.leg.Pair(); n != wanted {
						t.Fatalf("network %q, want %q", n, wanted)
					}
					if o.sha1 != (s.leg.Profile() == seal.AES128CMSHA1) {
						t.Fatalf("profile %v", s.leg.Profile())
					}
					if err := s.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: 9}}); err != nil {
						t.Fatal(err)
					}
					get(t, s.rec.rtcp, "RTCP")
				})
			}
		}
	}
}

func TestPionSeesClose(t *testing.T) {
	tr := newTransport(t)
	a, _ := serveUDP(t, tr, loopback)
	s := startSession(t, tr, sessionOptions{publisher: true, network: webrtc.NetworkTypeUDP4, candidate: udpCandidate(a)})
	closed := make(chan struct{})
	var once sync.Once
	s.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		if st == webrtc.PeerConnectionStateClosed || st == webrtc.PeerConnectionStateFailed {
			once.Do(func() { close(closed) })
		}
	})
	s.leg.Close()
	get(t, closed, "the PeerConnection to end")
}

func TestPionClosesFirst(t *testing.T) {
	tr := newTransport(t)
	a, _ := serveUDP(t, tr, loopback)
	s := startSession(t, tr, sessionOptions{publisher: true, network: webrtc.NetworkTypeUDP4, candidate: udpCandidate(a)})
	s.publish(t, 1) // its side of the handshake is done as well
	if err := s.pc.Close(); err != nil {
		t.Fatal(err)
	}
	if err := get(t, s.rec.ended, "HandleEnd"); err != ErrPeerClosed {
		t.Fatal(err)
	}
}

// forwarder is a NAT between a peer and our socket.
type forwarder struct {
	front *net.UDPConn
	to    netip.AddrPort

	mu   sync.Mutex
	back *net.UDPConn
	peer netip.AddrPort
	wg   sync.WaitGroup
}

func newForwarder(t *testing.T, to netip.AddrPort) *forwarder {
	t.Helper()
	f := &forwarder{to: to}
	var err error
	if f.front, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	f.rebind(t)
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		buf := make([]byte, 2048)
		for {
			n, from, err := f.front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			f.mu.Lock()
			f.peer = from
			_, _ = f.back.WriteToUDPAddrPort(buf[:n], f.to)
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = f.front.Close()
		_ = f.back.Close()
		f.wg.Wait()
	})
	return f
}

// rebind gives the peer a new source port, the old one is dead.
func (f *forwarder) rebind(t *testing.T) netip.AddrPort {
	t.Helper()
	back, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	old := f.back
	f.back = back
	f.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		buf := make([]byte, 2048)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			f.mu.Lock()
			_, _ = f.front.WriteToUDPAddrPort(buf[:n], f.peer)
			f.mu.Unlock()
		}
	}()
	return addrPort(back.LocalAddr())
}

func TestNATRebinding(t *testing.T) {
	for _, publisher := range []bool{true, false} {
		tr := newTransport(t)
		a, _ := serveUDP(t, tr, loopback)
		f := newForwarder(t, a)
		s := startSession(t, tr, sessionOptions{
			publisher: publisher, network: webrtc.NetworkTypeUDP4, candidate: udpCandidate(addrPort(f.front.LocalAddr())),
		})
		for i := range 2 {
			now := f.rebind(t)
			checks := tr.Stats().Checks
			eventually(t, "check from the new port", func() bool { return tr.Stats().Checks > checks })
			began := Now()
			eventually(t, "path moved", func() bool { return s.leg.Path().Remote() == now })
			if took := Now() - began; took > second { // not by the silence of the old path
				t.Fatalf("moved %v after the first check", time.Duration(took))
			}
			if publisher {
				s.publish(t, uint16(1+1000*i))
			} else {
				s.play(t, uint16(1+1000*i))
			}
		}
		if tr.Stats().PathChanges != 2 {
			t.Fatalf("%d path changes", tr.Stats().PathChanges)
		}
	}
}

func TestPionRestart(t *testing.T) {
	tr := newTransport(t)
	a, _ := serveUDP(t, tr, loopback)
	o := sessionOptions{publisher: true, network: webrtc.NetworkTypeUDP4, candidate: udpCandidate(a)}
	s := startSession(t, tr, o)
	s.publish(t, 1)
	old := s.leg.Ufrag()
	sealer := s.leg.Sealer()
	offered, err := s.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	if err != nil {
		t.Fatal(err)
	}
	if err = s.pc.SetLocalDescription(offered); err != nil {
		t.Fatal(err)
	}
	ufrag, pwd := s.leg.Restart(sdpValue(offered.SDP, "ice-ufrag"), sdpValue(offered.SDP, "ice-pwd"))
	if ufrag == old || ufrag != s.leg.Ufrag() || pwd != s.leg.Pwd() {
		t.Fatal("restart made no new credentials")
	}
	s.answer(t, tr, o)
	eventually(t, "old credentials end", func() bool { return tr.credentialsOf([]byte(old)) == nil })
	s.publish(t, 1000)
	if s.leg.Sealer() != sealer || tr.Stats().Handshakes != 1 {
		t.Fatal("the restart made a new DTLS session")
	}
}
