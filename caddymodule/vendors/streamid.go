package vendors

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// markLength is the length of what StreamID appends: an underscore and 16 hex
// digits.
const markLength = 17

// StreamID is a stream's name for a service that takes only ASCII letters,
// digits and the characters of extra, at most limit (at least 24) of them.
// Names it can take stay as they are. In others each foreign character becomes
// an underscore, and the first 16 hex digits of the SHA-256 of the name are
// appended after another one, so that no two streams share a name. For the
// same reason names that look as if they had such an ending get one.
func StreamID(name, extra string, limit int) string {
	id := strings.Map(func(c rune) rune {
		if alphanumeric(c) || strings.ContainsRune(extra, c) {
			return c
		}
		return '_'
	}, name)
	if id == name && len(id) <= limit && !marked(id) {
		return id
	}
	sum := sha256.Sum256([]byte(name))
	if room := limit - markLength; len(id) > room {
		id = id[:room]
	}
	return id + "_" + hex.EncodeToString(sum[:8])
}

func alphanumeric(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func marked(id string) bool {
	n := len(id) - markLength
	return n >= 0 && id[n] == '_' && strings.Trim(id[n+1:], "0123456789abcdef") == ""
}
