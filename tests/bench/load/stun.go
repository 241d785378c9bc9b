package load

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

// hostPriority is that of a peer-reflexive candidate on the only interface
// (RFC 8445 section 5.1.2).
const hostPriority = 110<<24 | 65535<<8 | 255

// consentInterval is well within the 30 s of RFC 7675 section 5.1 and about
// what browsers do.
const consentInterval = 2500 * time.Millisecond

// check is a connectivity check that nominates its pair: the viewer is the
// controlling side, as the one who offers (RFC 8445 sections 6.1.1 and 7.2).
func (v *viewer) check() []byte {
	var priority [4]byte
	binary.BigEndian.PutUint32(priority[:], hostPriority)
	var tie [8]byte
	binary.BigEndian.PutUint64(tie[:], v.tieBreaker)
	m, err := stun.Build(
		stun.TransactionID, stun.BindingRequest,
		stun.NewUsername(v.remote.ufrag+":"+v.local.ufrag),
		stun.RawAttribute{Type: stun.AttrPriority, Value: priority[:]},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: tie[:]},
		stun.RawAttribute{Type: stun.AttrUseCandidate},
		stun.NewShortTermIntegrity(v.remote.pwd), stun.Fingerprint,
	)
	if err != nil {
		return nil // a user name the server made too long: its checks then fail
	}
	return m.Raw
}

// stun handles a STUN message: the server's own checks are answered, an answer
// to ours completes ICE.
func (v *viewer) stun(b []byte, from netip.AddrPort) {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if m.Decode() != nil {
		return
	}
	switch m.Type {
	case stun.BindingRequest:
		if stun.NewShortTermIntegrity(v.local.pwd).Check(m) != nil {
			return
		}
		ip := from.Addr().Unmap()
		reply, err := stun.Build(
			stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
			&stun.XORMappedAddress{IP: ip.AsSlice(), Port: int(from.Port())},
			stun.NewShortTermIntegrity(v.local.pwd), stun.Fingerprint,
		)
		if err == nil {
			v.load.sock.send(v.addr, from, reply.Raw)
		}
	case stun.BindingSuccess:
		if !v.hasRemote || stun.NewShortTermIntegrity(v.remote.pwd).Check(m) != nil {
			return
		}
		v.connectOnce.Do(func() { close(v.iceDone) })
	}
}
