package sdpneg

import (
	"slices"
	"strings"
	"testing"
)

func TestSimulcastAnswer(t *testing.T) {
	for _, c := range []struct {
		name, offer string
		edit        func(string) string
		want        string // as in a=simulcast, empty: none
		rrid        bool
	}{
		{"browser", "medooze-simulcast", nil, "h;m;l", true},
		{"OBS with four layers (Q-OBS-10)", "obs-simulcast", nil, "0;1;2;3", false},
		{"one encoding", "chromium-publish", nil, "", false},
		{"more layers than are taken", "obs-simulcast", replace("a=rid:3 send", "a=rid:3 send\r\na=rid:4 send", "0;1;2;3", "4;3;2;1;0"), "4;3;2;1", false},
		{"paused and alternatives", "medooze-simulcast", replace("send h;m;l", "send ~h;x,~l,m"), "h;l", true},
		{"unknown rids are passed over", "medooze-simulcast", replace("send h;m;l", "send x;m;y"), "m", true},
		{"only unknown rids", "medooze-simulcast", replace("send h;m;l", "send x;y"), "", false},
		{"both directions", "medooze-simulcast", replace("send h;m;l", "recv a;b send m;h"), "m;h", true},
		{"the same rid twice", "medooze-simulcast", replace("send h;m;l", "send h;h;l"), "h;l", true},
		{"nothing behind send", "medooze-simulcast", replace("send h;m;l", "send"), "", false},
		{"rids without simulcast", "medooze-simulcast", replace("a=simulcast:send h;m;l", "a=x"), "", false},
		{"a layer in another format", "medooze-simulcast", replace("a=rid:m send", "a=rid:m send pt=98,102;max-width=640"), "h;l", true},
		{"a layer in this format", "medooze-simulcast", replace("a=rid:m send", "a=rid:m send max-width=640;pt=98,96"), "h;m;l", true},
		{"a rid too long for a packet", "medooze-simulcast", replace("a=rid:m send", "a=rid:mmmmmmmmmmmmmmmmm send", "h;m;l", "h;mmmmmmmmmmmmmmmmm"), "h", true},
		{"a rid that is none", "medooze-simulcast", replace("a=rid:m send", "a=rid:m\" send", "h;m;l", "h;m\";l"), "h;l", true},
		{"no way to tell layers apart", "medooze-simulcast", replace("sdes:rtp-stream-id", "sdes:other"), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := fixture(t, c.offer)
			if c.edit != nil {
				if edited := c.edit(text); edited != text {
					text = edited
				} else {
					t.Fatal("the fixture is not what it was")
				}
			}
			o := mustParse(t, text)
			choices, err := Publish(o, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, desc := mustAnswer(t, o, params(o, Recv, choices))
			line, _ := desc.MediaDescriptions[1].Attribute("simulcast")
			if strings.TrimPrefix(line, "recv ") != c.want {
				t.Errorf("simulcast %q, want %q", line, c.want)
			}
			if strings.Contains(got, RepairedRIDURI) != c.rrid {
				t.Errorf("repaired-rtp-stream-id: want %v in\n%s", c.rrid, got)
			}
		})
	}
}

func replace(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }

// A peer that publishes and plays in one section sends layers, and gets none.
func TestSimulcastPubSub(t *testing.T) {
	o := mustParse(t, replace("a=sendonly", "a=sendrecv")(fixture(t, "medooze-simulcast")))
	choices, err := PubSub(o, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(choices[1].RIDs, []string{"h", "m", "l"}) {
		t.Fatalf("layers %q", choices[1].RIDs)
	}
	got, _ := mustAnswer(t, o, params(o, Both, choices))
	if !strings.Contains(got, "a=simulcast:recv h;m;l\r\n") || strings.Contains(got, "simulcast:send") {
		t.Error(got)
	}
}

// We offer an upstream no simulcast, so its answer has none, whatever it says.
func TestPulledHasNoLayers(t *testing.T) {
	choices, err := Pulled(mustParse(t, fixture(t, "medooze-simulcast")))
	if err != nil {
		t.Fatal(err)
	}
	if ch := choices[1]; len(ch.RIDs) > 0 || ch.Extensions[RIDURI] != 0 {
		t.Errorf("%+v", ch)
	}
}
