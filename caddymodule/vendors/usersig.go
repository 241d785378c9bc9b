package vendors

import (
	"bytes"
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// userSigJSON is a UserSig before it is packed.
type userSigJSON struct {
	Version    string `json:"TLS.ver"`
	Identifier string `json:"TLS.identifier"`
	SDKAppID   uint64 `json:"TLS.sdkappid"`
	Expire     int64  `json:"TLS.expire"` // seconds
	Time       int64  `json:"TLS.time"`   // Unix seconds
	Sig        string `json:"TLS.sig"`
}

// userSigAlphabet makes Base64 fit for URLs, in Tencent's own way.
var userSigAlphabet = strings.NewReplacer("+", "*", "/", "-", "=", "_")

// userSig signs a user's name as Tencent's TLSSigAPIv2 does: HMAC-SHA256 over
// four lines, put into JSON, deflated, and encoded.
func userSig(app uint64, key, user string, now time.Time, lifetime time.Duration) (string, error) {
	s := userSigJSON{Version: "2.0", Identifier: user, SDKAppID: app, Expire: int64(lifetime / time.Second), Time: now.Unix()}
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "TLS.identifier:%s\nTLS.sdkappid:%d\nTLS.time:%d\nTLS.expire:%d\n", s.Identifier, s.SDKAppID, s.Time, s.Expire)
	s.Sig = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return userSigAlphabet.Replace(base64.StdEncoding.EncodeToString(b.Bytes())), nil
}
