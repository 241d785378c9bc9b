package turnsvc

import (
	"net/netip"
	"testing"
)

// A gateway in a network of documentation addresses works, and no allocation is
// ever given the address of its media.
func TestMediaInTheRangeOfRelayedAddresses(t *testing.T) {
	first := relayedAddr(1, 4)
	media := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:5004"), first}
	out, err := mediaSet(media)
	if err != nil || len(out) != 2 {
		t.Fatalf("media set %v: %v", out, err)
	}
	s := &Server{}
	s.settings.Store((&settings{}).withMedia(out))
	h := newHub(s)
	a := new(allocation)
	if !h.reserve(a, 4, false) {
		t.Fatal("no address reserved")
	}
	if a.slot == first {
		t.Errorf("an allocation got the media's own address %v", a.slot)
	}
}
