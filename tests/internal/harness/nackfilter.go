package harness

import (
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
)

// nackFilter makes pion's viewer ask as browsers do: only for what is still
// missing. pion's own generator does not see that a retransmission has filled
// a gap, and goes on asking for seconds.
type nackFilter struct {
	interceptor.NoOp

	mu  sync.Mutex
	has map[uint32]map[uint16]bool // sequence numbers by SSRC
}

// NewInterceptor makes the filter its own factory: there is one per peer.
func (f *nackFilter) NewInterceptor(string) (interceptor.Interceptor, error) { return f, nil }

// got notes a packet, however it came.
func (f *nackFilter) got(ssrc uint32, seq uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.has[ssrc] == nil {
		f.has[ssrc] = map[uint16]bool{}
	}
	f.has[ssrc][seq] = true
	delete(f.has[ssrc], seq-0x4000) // long before this number comes again
}

// BindRTCPWriter takes out of each NACK what has come.
func (f *nackFilter) BindRTCPWriter(next interceptor.RTCPWriter) interceptor.RTCPWriter {
	return interceptor.RTCPWriterFunc(func(pkts []rtcp.Packet, a interceptor.Attributes) (int, error) {
		var out []rtcp.Packet
		for _, p := range pkts {
			if nack, ok := p.(*rtcp.TransportLayerNack); ok {
				if p = f.missing(nack); p == nil {
					continue
				}
			}
			out = append(out, p)
		}
		if len(out) == 0 {
			return 0, nil
		}
		return next.Write(out, a)
	})
}

func (f *nackFilter) missing(n *rtcp.TransportLayerNack) rtcp.Packet {
	f.mu.Lock()
	defer f.mu.Unlock()
	var seqs []uint16
	for _, pair := range n.Nacks {
		for _, seq := range pair.PacketList() {
			if !f.has[n.MediaSSRC][seq] {
				seqs = append(seqs, seq)
			}
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	return &rtcp.TransportLayerNack{SenderSSRC: n.SenderSSRC, MediaSSRC: n.MediaSSRC, Nacks: rtcp.NackPairsFromSequenceNumbers(seqs)}
}
