package seal

import (
	"fmt"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

// RTCPSealer protects the outgoing RTCP of one session. It is safe for concurrent
// use: reports, feedback and key frame requests come from different goroutines. It
// numbers the packets itself, so a session must have no more than one.
type RTCPSealer struct {
	overhead int

	mu  sync.Mutex
	ctx *srtp.Context
	hdr rtcp.Header // scratch
}

// NewRTCPSealer returns a sealer for RTCP protected with the local master key and salt.
func NewRTCPSealer(p Profile, key, salt []byte) (*RTCPSealer, error) {
	if err := p.check(key, salt); err != nil {
		return nil, err
	}
	ctx, err := srtp.CreateContext(key, salt, p.pion())
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &RTCPSealer{overhead: p.Overhead() + rtcpIndexLen, ctx: ctx}, nil
}

// Overhead is the number of bytes SealRTCP adds: 20 or 14.
func (s *RTCPSealer) Overhead() int { return s.overhead }

// SealRTCP protects one compound packet whose first packet carries our SSRC in bytes
// 4-7. The result is written to the memory of dst, from its start, if the capacity
// reaches, else to new memory. It fails if the compound is malformed, and after 2^31
// packets of one SSRC (RFC 3711 section 9.2), when the session must end.
func (s *RTCPSealer) SealRTCP(dst, compound []byte) ([]byte, error) {
	if len(compound) < rtcpHeaderLen {
		return nil, ErrTooShort
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.ctx.EncryptRTCP(dst, compound, &s.hdr)
	if err != nil {
		return nil, fmt.Errorf("seal: rtcp: %w", err)
	}
	return out, nil
}
