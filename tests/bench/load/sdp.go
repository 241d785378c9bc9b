package load

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// transportLines begin each section of the bundle.
const transportLines = `c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:%s
a=ice-pwd:%s
a=fingerprint:sha-256 %s
a=setup:actpass
a=recvonly
a=rtcp-mux
a=rtcp-rsize
a=candidate:1 1 udp 2130706431 %s %d typ host
a=end-of-candidates
`

const offerFormat = `v=0
o=- %[1]d 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic: WMS *
m=video 9 UDP/TLS/RTP/SAVPF %[3]d
%[2]sa=mid:0
a=rtpmap:%[3]d H264/90000
a=fmtp:%[3]d %[4]s
a=rtcp-fb:%[3]d nack
a=rtcp-fb:%[3]d nack pli
m=audio 9 UDP/TLS/RTP/SAVPF %[5]d
%[2]sa=mid:1
a=rtpmap:%[5]d opus/48000/2
a=fmtp:%[5]d %[6]s
`

// offer asks for one video and one audio on one transport.
func (v *viewer) offer() string {
	transport := fmt.Sprintf(transportLines, v.local.ufrag, v.local.pwd, v.load.fingerprint, v.addr, v.load.sock.port)
	s := fmt.Sprintf(offerFormat, v.index+1, transport, videoPT, videoFmtp, audioPT, audioFmtp)
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// credentials of one side of ICE.
type credentials struct{ ufrag, pwd string }

// answer is what a viewer needs of the server's answer.
type answer struct {
	credentials
	addr   netip.AddrPort
	client bool // the viewer is the DTLS client
}

// parseAnswer takes the transport of the first section; all are one bundle.
func parseAnswer(sdp string) (a answer, err error) {
	setup := ""
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		name, value, _ := strings.Cut(line, ":")
		switch {
		case name == "a=ice-ufrag" && a.ufrag == "":
			a.ufrag = value
		case name == "a=ice-pwd" && a.pwd == "":
			a.pwd = value
		case name == "a=setup" && setup == "":
			setup = value
		case name == "a=candidate" && !a.addr.Addr().IsLoopback():
			if c, ok := parseCandidate(value); ok {
				a.addr = c
			}
		}
	}
	a.client = setup == "passive"
	if a.ufrag == "" || a.pwd == "" || setup == "" || !a.addr.IsValid() {
		return answer{}, errors.New("the answer lacks ICE credentials, the DTLS role or a UDP candidate for IPv4")
	}
	return a, nil
}

// parseCandidate reads a candidate of RTP over UDP and IPv4.
func parseCandidate(s string) (netip.AddrPort, bool) {
	f := strings.Fields(s)
	if len(f) < 8 || f[1] != "1" || !strings.EqualFold(f[2], "udp") {
		return netip.AddrPort{}, false
	}
	ip, err := netip.ParseAddr(f[4])
	port, err2 := strconv.ParseUint(f[5], 10, 16)
	if err != nil || err2 != nil || !ip.Is4() || port == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// fingerprint is the certificate's as RFC 8122 section 5 writes it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}
