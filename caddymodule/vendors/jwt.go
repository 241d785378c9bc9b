package vendors

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// tokenLifetime is how long signatures hold unless a vendor says otherwise.
// Sessions are ended with a fresh one, so it only has to cover the request; it
// is long because services may look at it again while a session lasts.
const tokenLifetime = 24 * time.Hour

// wtnClaims are the claims of a WTN token.
type wtnClaims struct {
	Version       string `json:"version"`
	AppID         string `json:"appID"`
	StreamID      string `json:"streamID"`
	Action        string `json:"action"`
	Exp           int64  `json:"exp"` // Unix seconds
	EnableSubAuth bool   `json:"enableSubAuth,omitempty"`
}

// signHS256 makes a JSON Web Token (RFC 7519) signed with HMAC-SHA256. The
// header's typ is under the name that the vendor gives it.
func signHS256(key []byte, typ string, claims any) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "HS256", typ: "JWT"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString(head) + "." + enc.EncodeToString(body)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + enc.EncodeToString(mac.Sum(nil)), nil
}
