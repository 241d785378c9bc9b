package vendors

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// errPrivate stops a name of the vendor's domain that leads into our network.
var errPrivate = errors.New("the name leads to a private address: if that is right, name the host in hosts")

type publicKey struct{}

// toPublic marks a request whose host must have a public address.
func toPublic(ctx context.Context, u *url.URL) context.Context {
	return context.WithValue(ctx, publicKey{}, net.JoinHostPort(u.Hostname(), portOf(u)))
}

// dial connects. The address is checked after the name was resolved, so that a
// name cannot change its mind in between. A proxy of the operator's has
// another address than the one that is marked, and decides for itself.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	if marked, _ := ctx.Value(publicKey{}).(string); marked == addr {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !isPublic(ap.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, addr)
}

var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598; metadata services live here too
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	nat64       = netip.MustParsePrefix("64:ff9b::/96")
)

// isPublic reports whether an address is one of the Internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a) && !thisNetwork.Contains(a)
}
