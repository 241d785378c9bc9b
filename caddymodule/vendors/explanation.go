package vendors

import (
	"encoding/json"
	"strings"
)

const maxExplanation = 80 // bytes

// explanation is what a service says about an error, if it is said in a few
// words that are known. A service may repeat what it was sent, in any form, and
// knows keys that are never sent; no word of theirs is in the vocabulary.
func explanation(p *reply) string {
	text := string(p.body)
	if t, _, _ := strings.Cut(p.header.Get("Content-Type"), ";"); strings.HasSuffix(strings.TrimSpace(t), "json") {
		var m struct{ Title, Message, Error string }
		if json.Unmarshal(p.body, &m) != nil {
			return ""
		}
		text = m.Title + m.Message + m.Error // more than one are too many
	}
	text = strings.TrimRight(strings.TrimSpace(text), ".!")
	if text == "" || len(text) > maxExplanation {
		return ""
	}
	for word := range strings.SplitSeq(text, " ") {
		if !vocabulary[strings.ToLower(strings.Trim(word, ",:"))] {
			return ""
		}
	}
	return text
}

// vocabulary are the words of errors that services are known to give, and
// their like.
var vocabulary = func() map[string]bool {
	words := make(map[string]bool)
	for w := range strings.FieldsSeq(`a accepting access account active already an and app are at
		authentication authorization authorized bad be being busy by can capacity check codec codecs
		conflict connected content content-type could credentials denied does error exceeded exist
		exists expired failed for forbidden found gateway has illegal in internal invalid is key
		limit live locked malformed many media method missing must no nobody not of off offer on one
		or path permission permitted published publisher publishes publishing quota rate reached ready
		refused request requests required resource rid sdp server service session sessions signature
		stream streams such supported temporarily the there this timeout to token too type
		unacceptable unauthorized unavailable unknown unsupported url user verification was wrong yet`) {
		words[w] = true
	}
	return words
}()
