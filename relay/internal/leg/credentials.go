package leg

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// credentials are one ICE generation of a leg. They never change.
type credentials struct {
	leg                    *Leg
	ufrag, pwd             string
	remoteUfrag, remotePwd string
}

// newCredentials draws 48 random bits of ufrag, which only has to be unique
// here, and 192 of password. Base64 is made of ice-chars (RFC 8839 5.4).
func newCredentials(l *Leg, remoteUfrag, remotePwd string) *credentials {
	ufrag, pwd := DrawCredentials()
	return &credentials{leg: l, ufrag: ufrag, pwd: pwd, remoteUfrag: remoteUfrag, remotePwd: remotePwd}
}

// DrawCredentials makes local credentials for a leg whose peer is not known yet,
// see Params.
func DrawCredentials() (ufrag, pwd string) {
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	s := base64.RawStdEncoding.EncodeToString(b[:])
	return s[:8], s[8:]
}

// check is a check of ours made with the credentials.
func (c *credentials) check(tid []byte, role uint16, nominate bool) []byte {
	r := checkRequest{
		tid: tid, username: c.remoteUfrag + ":" + c.ufrag, key: c.remotePwd,
		priority: checkPriority, role: role, tieBreaker: c.leg.t.tieBreaker, nominate: nominate,
	}
	return r.message()
}

func checkRemote(ufrag, pwd string) error {
	if len(ufrag) < 4 || len(ufrag) > 256 {
		return fmt.Errorf("ice-ufrag of the peer has %d characters, want 4 to 256", len(ufrag))
	}
	if len(pwd) < 22 || len(pwd) > 256 {
		return fmt.Errorf("ice-pwd of the peer has %d characters, want 22 to 256", len(pwd))
	}
	return nil
}

// addUfrag makes the credentials known to the demultiplexer, with another
// ufrag in the one case in 2^48 that it is taken.
func (t *Transport) addUfrag(c *credentials) *credentials {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.ufrags[c.ufrag] != nil {
		c = newCredentials(c.leg, c.remoteUfrag, c.remotePwd)
	}
	t.ufrags[c.ufrag] = c
	return c
}

func (t *Transport) dropUfrag(c *credentials) {
	if c == nil {
		return
	}
	t.mu.Lock()
	delete(t.ufrags, c.ufrag)
	t.mu.Unlock()
}

func (t *Transport) credentialsOf(ufrag []byte) *credentials {
	t.mu.RLock()
	c := t.ufrags[string(ufrag)]
	t.mu.RUnlock()
	return c
}

// Restart begins an ICE restart (RFC 8445 9) and returns the new local
// credentials. Both generations answer until the peer nominates a proven
// address with the new one; media stays on the old path meanwhile, and DTLS
// goes on. A restart during a restart replaces the newer generation. Params
// that RFC 8445 does not allow make checks fail, as for any peer with a wrong
// password. After Close the credentials are good for nothing. A controlling leg
// has no restart, a new leg takes its place: it keeps the credentials it has.
func (l *Leg) Restart(remoteUfrag, remotePwd string) (ufrag, pwd string) {
	if l.ctl != nil {
		return l.Ufrag(), l.Pwd()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newCredentials(l, remoteUfrag, remotePwd)
	if !l.closed {
		l.t.dropUfrag(l.pending)
		c = l.t.addUfrag(c)
		l.pending = c
	}
	l.newest.Store(c)
	return c.ufrag, c.pwd
}
