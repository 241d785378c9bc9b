package turnsvc

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // RFC 8489 section 9.2.2 defines the key with it
	"crypto/sha1" //nolint:gosec // the REST credential convention defines the password with it
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxUserID     = 64
	maxRevoked    = 1 << 16
	ttlSlack      = time.Minute // by which a clock may have been set back since minting
	maxExpiryText = 12          // digits of a Unix time, until the year 33658
)

// Credential is what a client puts into its iceServers entry.
type Credential struct {
	Username string        // "<expiry, Unix seconds>:<user id>"
	Password string        // base64(HMAC-SHA1(secret, username))
	TTL      time.Duration // how long from now the credential opens new allocations
}

// Mint makes a credential for a user id (a session id, so that it can be counted and revoked),
// good for new allocations during ttl, at most Config.MaxTTL. An allocation made with it may
// outlive it: it is refreshed for as long as the client wants and nobody revokes the user.
// Safe for concurrent use.
func (s *Server) Mint(userID string, ttl time.Duration) (Credential, error) {
	set := s.settings.Load()
	if !validUserID(userID) {
		return Credential{}, ErrUserID
	}
	if ttl < time.Second || ttl > set.MaxTTL {
		return Credential{}, fmt.Errorf("%w: %v, give 1s to %v", ErrTTL, ttl, set.MaxTTL)
	}
	if s.revoked.has(userID, s.clock()) {
		return Credential{}, ErrRevoked
	}
	username := strconv.FormatInt(s.clock().Add(ttl).Unix(), 10) + ":" + userID
	return Credential{Username: username, Password: password(set.Secrets[0], username), TTL: ttl}, nil
}

// Revoke ends every allocation of a user id and refuses its credentials for the longest MaxTTL there
// has been, after which none of them can be valid. It returns when the allocations have ended. The list of revoked
// users is bounded to 65536; beyond, the one that was revoked first is forgotten.
func (s *Server) Revoke(userID string) error {
	if !validUserID(userID) {
		return ErrUserID
	}
	s.revoked.add(userID, s.clock(), time.Duration(s.longestTTL.Load())+ttlSlack)
	for _, a := range s.registry.ofUser(userID) {
		a.end(EndRevoked)
	}
	return nil
}

func validUserID(id string) bool {
	if id == "" || len(id) > maxUserID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// parseUsername splits a username into its expiry and user id, accepting only the one spelling
// that Mint produces.
func parseUsername(name string) (expiry time.Time, userID string, err error) {
	digits, userID, ok := strings.Cut(name, ":")
	if !ok || len(digits) > maxExpiryText || !validUserID(userID) {
		return time.Time{}, "", errCredential
	}
	sec, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || strconv.FormatUint(sec, 10) != digits {
		return time.Time{}, "", errCredential
	}
	return time.Unix(int64(sec), 0), userID, nil
}

// checkUsername tells whether a username may open something new now.
func (s *Server) checkUsername(set *settings, name string) (userID string, why reason, err error) {
	expiry, userID, err := parseUsername(name)
	if err != nil {
		return "", rejectCredential, err
	}
	now := s.clock()
	switch {
	case !now.Before(expiry):
		return "", rejectExpired, errExpired
	case expiry.Sub(now) > set.MaxTTL+ttlSlack: // not ours, or minted under a longer limit
		return "", rejectCredential, errCredential
	case s.revoked.has(userID, now):
		return "", rejectRevoked, errCredential
	}
	return userID, 0, nil
}

func password(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// longTermKey is MD5(username ":" realm ":" password), RFC 8489 section 9.2.2.
func longTermKey(username, realm, password string) []byte {
	sum := md5.Sum([]byte(username + ":" + realm + ":" + password)) //nolint:gosec
	return sum[:]
}

// revocations is a bounded set of user ids that forgets each after a time. Entries are queued in
// the order of their ends, so that forgetting is done from the front.
type revocations struct {
	mu    sync.Mutex
	until map[string]time.Time
	queue []revocation
}

type revocation struct {
	user  string
	until time.Time
}

func newRevocations() *revocations { return &revocations{until: map[string]time.Time{}} }

func (r *revocations) add(user string, now time.Time, keep time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 && (len(r.queue) >= maxRevoked || !now.Before(r.queue[0].until)) {
		head := r.queue[0]
		r.queue = r.queue[1:]
		if r.until[head.user].Equal(head.until) { // not revoked again since
			delete(r.until, head.user)
		}
	}
	end := now.Add(keep)
	if r.until[user].Equal(end) {
		return
	}
	r.until[user] = end
	r.queue = append(r.queue, revocation{user, end})
}

func (r *revocations) has(user string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Before(r.until[user])
}
