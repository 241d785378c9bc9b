package leg

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// vendorOptions say what the PeerConnection that answers us is like.
type vendorOptions struct {
	name    string
	lite    bool
	dtls    webrtc.DTLSRole // of the vendor
	network webrtc.NetworkType
	muxed   bool // one UDP port for all of its sessions
	hide    bool // its answer names no candidate that works
}

// vendorAPI makes the PeerConnections of one vendor.
func vendorAPI(t *testing.T, o vendorOptions) *webrtc.API {
	t.Helper()
	var media webrtc.MediaEngine
	if err := media.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, PayloadType: 96,
	}, webrtc.RTPCodecTypeVideo); err != nil {
		t.Fatal(err)
	}
	var s webrtc.SettingEngine
	s.LoggerFactory = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() && ip.To4() != nil })
	s.SetNetworkTypes([]webrtc.NetworkType{o.network})
	s.SetLite(o.lite)
	if err := s.SetAnsweringDTLSRole(o.dtls); err != nil {
		t.Fatal(err)
	}
	quiet := s.LoggerFactory.NewLogger("mux")
	if o.muxed {
		pc, err := net.ListenPacket("udp4", loopback)
		if err != nil {
			t.Fatal(err)
		}
		mux := webrtc.NewICEUDPMux(quiet, pc)
		s.SetICEUDPMux(mux)
		t.Cleanup(func() { _ = mux.Close(); _ = pc.Close() })
	}
	if o.network == webrtc.NetworkTypeTCP4 {
		l, err := net.Listen("tcp4", loopback)
		if err != nil {
			t.Fatal(err)
		}
		mux := webrtc.NewICETCPMux(quiet, l, 64)
		s.SetICETCPMux(mux)
		t.Cleanup(func() { _ = mux.Close(); _ = l.Close() })
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(s))
}

var candidateLine = regexp.MustCompile(`(?m)^a=candidate:\S+ 1 (udp|tcp) \d+ (\S+) (\d+) typ host(.*?)\r?$`)

// candidatesOf reads an answer as a caller of the package has to.
func candidatesOf(sdp string) (udp, tcp []netip.AddrPort) {
	for _, m := range candidateLine.FindAllStringSubmatch(sdp, -1) {
		a := netip.MustParseAddrPort(net.JoinHostPort(m[2], m[3]))
		switch {
		case m[1] == "udp":
			udp = append(udp, a)
		case strings.Contains(m[4], "tcptype passive"):
			tcp = append(tcp, a)
		}
	}
	return udp, tcp
}

// callPion makes an offer to a PeerConnection of the vendor and a controlling leg
// of its answer. at is the candidate in our offer, if any.
func callPion(t *testing.T, tr *Transport, api *webrtc.API, o vendorOptions, at netip.AddrPort) *session {
	t.Helper()
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	s := &session{pc: pc, rec: newRecorder(), media: make(chan *rtp.Packet, 64)}
	if s.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s"); err != nil {
		t.Fatal(err)
	}
	pc.OnTrack(func(r *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := r.ReadRTP()
			if err != nil {
				return
			}
			offer(s.media, p)
		}
	})
	ufrag, pwd := DrawCredentials()
	hash, value := tr.Fingerprint()
	lines := []string{
		"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=fingerprint:" + hash + " " + value,
		"m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:0", "a=rtcp-mux", "a=rtpmap:96 VP8/90000",
		"a=setup:actpass", "a=ice-ufrag:" + ufrag, "a=ice-pwd:" + pwd, "a=sendrecv", "a=ssrc:9 cname:x",
	}
	if at.IsValid() {
		lines = append(lines, "a=candidate:"+udpCandidate(at))
	}
	if err = pc.SetRemoteDescription(webrtc.SessionDescription{
		Type: webrtc.SDPTypeOffer, SDP: strings.Join(append(lines, ""), "\r\n"),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err = pc.AddTrack(s.track); err != nil {
		t.Fatal(err)
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err = pc.SetLocalDescription(answer); err != nil {
		t.Fatal(err)
	}
	get(t, gathered, "the vendor's candidates")
	sdp := pc.LocalDescription().SDP
	udp, tcp := candidatesOf(sdp)
	if o.hide {
		udp = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
	}
	if o.network == webrtc.NetworkTypeTCP4 && len(tcp) == 0 || o.network == webrtc.NetworkTypeUDP4 && len(udp) == 0 {
		t.Fatalf("no candidates in %s", sdp)
	}
	if lite := strings.Contains(sdp, "a=ice-lite"); lite != o.lite {
		t.Fatalf("lite is %v", lite)
	}
	hash, value, _ = strings.Cut(sdpValue(sdp, "fingerprint"), " ")
	if s.leg, err = tr.NewLeg(Params{
		ID: t.Name(), RemoteUfrag: sdpValue(sdp, "ice-ufrag"), RemotePwd: sdpValue(sdp, "ice-pwd"), Ufrag: ufrag, Pwd: pwd,
		Fingerprints: []Fingerprint{{hash, value}}, Active: sdpValue(sdp, "setup") == "passive", Handler: s.rec,
		Controlling: true, Candidates: udp, TCPCandidates: tcp,
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestControllingConnectsToPion(t *testing.T) {
	for _, o := range []vendorOptions{
		{name: "full ICE, vendor DTLS client", dtls: webrtc.DTLSRoleClient, network: webrtc.NetworkTypeUDP4},
		{name: "full ICE, vendor DTLS server", dtls: webrtc.DTLSRoleServer, network: webrtc.NetworkTypeUDP4},
		{name: "full ICE, only its checks name it", dtls: webrtc.DTLSRoleServer, network: webrtc.NetworkTypeUDP4, hide: true},
		{name: "muxed", dtls: webrtc.DTLSRoleServer, network: webrtc.NetworkTypeUDP4, muxed: true},
		{name: "lite, vendor DTLS client", lite: true, dtls: webrtc.DTLSRoleClient, network: webrtc.NetworkTypeUDP4},
		{name: "lite, vendor DTLS server", lite: true, dtls: webrtc.DTLSRoleServer, network: webrtc.NetworkTypeUDP4},
		{name: "TCP, vendor DTLS client", dtls: webrtc.DTLSRoleClient, network: webrtc.NetworkTypeTCP4},
		{name: "TCP, vendor DTLS server", dtls: webrtc.DTLSRoleServer, network: webrtc.NetworkTypeTCP4},
	} {
		t.Run(o.name, func(t *testing.T) {
			tr := newTransport(t)
			at, _ := serveUDP(t, tr, loopback)
			if !o.hide {
				at = netip.AddrPort{}
			}
			s := callPion(t, tr, vendorAPI(t, o), o, at)
			began := time.Now()
			get(t, s.rec.ready, "HandleReady")
			t.Logf("ready in %v", time.Since(began))
			s.play(t, 1)
			s.publish(t, 1)
			if err := s.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: 9}}); err != nil {
				t.Fatal(err)
			}
			get(t, s.rec.rtcp, "RTCP")
			if _, _, network := s.leg.Pair(); network != map[bool]string{true: "tcp", false: "udp"}[o.network == webrtc.NetworkTypeTCP4] {
				t.Fatalf("network %q", network)
			}
			before := s.leg.LastReceived()
			eventually(t, "probe answered", func() bool {
				s.leg.Probe()
				return s.leg.LastReceived() > before && s.leg.Unanswered(Now()) == 0
			})
			if err := s.pc.Close(); err != nil {
				t.Fatal(err)
			}
			if err := get(t, s.rec.ended, "HandleEnd"); !errors.Is(err, ErrPeerClosed) && !errors.Is(err, ErrLost) {
				t.Fatal(err)
			}
		})
	}
}

// A vendor with one port for all sessions tells them apart by our address.
func TestManySessionsAtAMuxedVendor(t *testing.T) {
	o := vendorOptions{dtls: webrtc.DTLSRoleServer, network: webrtc.NetworkTypeUDP4, muxed: true}
	tr := newTransport(t)
	serveUDP(t, tr, loopback)
	api := vendorAPI(t, o)
	var all []*session
	for range 3 {
		s := callPion(t, tr, api, o, netip.AddrPort{})
		get(t, s.rec.ready, "HandleReady")
		all = append(all, s)
	}
	for i, s := range all {
		s.play(t, 1)
		s.publish(t, 1)
		if _, _, network := s.leg.Pair(); network != "udp" {
			t.Fatalf("session %d over %q", i, network)
		}
	}
	all[0].leg.Close()
	began := time.Now()
	s := callPion(t, tr, api, o, netip.AddrPort{})
	get(t, s.rec.ready, "HandleReady")
	if took := time.Since(began); took > 2*time.Second {
		t.Fatalf("the next one took %v", took)
	}
	s.play(t, 1)
}
