package seal

import (
	"encoding/binary"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

const (
	// rtpWindow is the replay window in packets. RFC 3711 section 3.3.2 asks for 64
	// at least. Video needs more: a retransmission that comes on the same SSRC is as
	// old as a round trip, and 1024 packets are half a second at 20 Mbit/s, or 128
	// bytes of bit map per SSRC.
	rtpWindow = 1024
	// rtcpWindow is in compound packets, of which a peer sends tens a second.
	rtcpWindow = 128

	// MaxSSRCs bounds the SSRCs an [Opener] accepts, for RTP and RTCP each. A browser
	// with three simulcast layers, RTX, FEC and audio uses about ten.
	MaxSSRCs = 64

	rtcpHeaderLen = 8
	rtcpIndexLen  = 4
)

// Opener authenticates and decrypts the incoming RTP and RTCP of one session, and
// refuses replays. It belongs to one goroutine at a time.
//
// A peer may bring at most [MaxSSRCs] SSRCs over the life of the session. The state
// of an SSRC (replay window, roll-over counter) is never dropped in favour of a new
// one: that would open the door to replays.
type Opener struct {
	ctx       *srtp.Context
	overhead  int
	rtpSSRCs  map[uint32]struct{}
	rtcpSSRCs map[uint32]struct{}
	rtp       rtp.Header // scratch
	rtcp      rtcp.Header
}

// NewOpener returns an opener for packets protected with the remote master key and salt.
func NewOpener(p Profile, key, salt []byte) (*Opener, error) {
	if err := p.check(key, salt); err != nil {
		return nil, err
	}
	ctx, err := srtp.CreateContext(key, salt, p.pion(),
		srtp.SRTPReplayProtection(rtpWindow), srtp.SRTCPReplayProtection(rtcpWindow))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Opener{
		ctx:       ctx,
		overhead:  p.Overhead(),
		rtpSSRCs:  make(map[uint32]struct{}),
		rtcpSSRCs: make(map[uint32]struct{}),
	}, nil
}

// OpenRTP returns the clear RTP packet. It is written to the memory of dst, from its
// start, if the capacity reaches (len(pkt) always does), else to new memory; dst may
// be pkt itself. A packet that is malformed, forged ([ErrAuth]), replayed, or of one
// SSRC too many ([ErrTooManySSRCs]) is an error and leaves no state behind, but maybe
// garbage in dst.
func (o *Opener) OpenRTP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < rtpHeaderLen+o.overhead {
		return nil, ErrTooShort
	}
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	known, err := admit(o.rtpSSRCs, ssrc)
	if err != nil {
		return nil, err
	}
	out, err := o.ctx.DecryptRTP(dst, pkt, &o.rtp)
	if err != nil {
		return nil, err
	}
	if !known {
		o.rtpSSRCs[ssrc] = struct{}{}
	}
	return out, nil
}

// OpenRTCP returns the clear compound RTCP packet. Memory and errors are those of
// [Opener.OpenRTP].
func (o *Opener) OpenRTCP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < rtcpHeaderLen+rtcpIndexLen+o.overhead {
		return nil, ErrTooShort
	}
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	known, err := admit(o.rtcpSSRCs, ssrc)
	if err != nil {
		return nil, err
	}
	out, err := o.ctx.DecryptRTCP(dst, pkt, &o.rtcp)
	if err != nil {
		return nil, err
	}
	if !known {
		o.rtcpSSRCs[ssrc] = struct{}{}
	}
	return out, nil
}

func admit(seen map[uint32]struct{}, ssrc uint32) (known bool, err error) {
	if _, known = seen[ssrc]; !known && len(seen) >= MaxSSRCs {
		return false, ErrTooManySSRCs
	}
	return known, nil
}
