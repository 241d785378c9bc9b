package sdpneg

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// Whatever comes in: no panic, an *Error or an answer that parses again and
// keeps the rules of every answer.
func FuzzNegotiate(f *testing.F) {
	files, err := filepath.Glob("testdata/*.sdp")
	if err != nil || len(files) == 0 {
		f.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		f.Add(fixture(f, strings.TrimSuffix(filepath.Base(file), ".sdp")))
	}
	f.Add(both)
	f.Add(strings.ReplaceAll(both, "sendonly", "recvonly"))
	source := []codec.Codec{mustCodec(f, "opus/48000/2", ""), mustCodec(f, "VP8/90000", "")}
	f.Fuzz(func(t *testing.T, text string) {
		negotiate(t, text, source)
	})
}

// Fixtures with lines lost, doubled, swapped and cut: most still parse, so
// this reaches deeper than the fuzzer does in a short run.
func TestMutatedFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/*.sdp")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	source := []codec.Codec{mustCodec(t, "opus/48000/2", ""), mustCodec(t, "VP8/90000", "")}
	rnd := rand.New(rand.NewPCG(1, 2))
	answered := 0
	for range 2000 {
		lines := strings.Split(fixture(t, strings.TrimSuffix(filepath.Base(files[rnd.IntN(len(files))]), ".sdp")), "\r\n")
		for range 1 + rnd.IntN(6) {
			i, j := rnd.IntN(len(lines)), rnd.IntN(len(lines))
			switch rnd.IntN(4) {
			case 0:
				lines = slices.Delete(lines, i, i+1)
			case 1:
				lines = slices.Insert(lines, i, lines[j])
			case 2:
				lines[i], lines[j] = lines[j], lines[i]
			case 3:
				lines[i] = lines[i][:rnd.IntN(len(lines[i])+1)]
			}
		}
		answered += negotiate(t, strings.Join(lines, "\n"), source)
	}
	if answered < 500 {
		t.Errorf("only %d mutants were answered, the test has lost its reach", answered)
	}
}

// negotiate runs the whole of offer/answer in both roles and returns the
// number of answers.
func negotiate(t *testing.T, text string, source []codec.Codec) int {
	t.Helper()
	o, err := ParseOffer([]byte(text))
	if err != nil {
		mustBeError(t, err)
		return 0
	}
	if len(o.Ufrag) < minUfrag || len(o.Pwd) < minPwd || len(o.Fingerprints) == 0 || len(o.Candidates) > MaxCandidates {
		t.Fatalf("incomplete offer %+v", o)
	}
	choices, err := Publish(o, nil)
	n := mustAnswerOrError(t, o, Recv, choices, err)
	choices, err = Play(o, source)
	return n + mustAnswerOrError(t, o, Send, choices, err)
}

func mustBeError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Detail == "" {
		t.Fatalf("%#v is not an *Error with a detail", err)
	}
}

func mustAnswerOrError(t *testing.T, o *Offer, role Role, choices []Choice, err error) int {
	t.Helper()
	if err != nil {
		mustBeError(t, err)
		return 0
	}
	p := params(o, role, choices)
	b, err := Answer(o, p)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	var desc sdp.SessionDescription
	if err := desc.Unmarshal(b); err != nil {
		t.Fatalf("the answer does not parse: %v\n%s", err, b)
	}
	checkAnswer(t, o, p, &desc)
	return 1
}
