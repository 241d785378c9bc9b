package choice

import (
	"time"

	"github.com/talwtn/caddy-wtn/relay/internal/liveness"
)

// MaxCandidates is how many candidates are looked at; more are ignored.
const MaxCandidates = 16

// Candidate is one source as it stands now.
type Candidate struct {
	// Key tells candidates apart over time. It is never 0, and a source that is
	// connected anew gets a new one.
	Key uint64
	// Rank orders candidates, lower is better. Among equals the current one
	// stays, else the first in the list is taken.
	Rank int
	// Pulse is what arrives from it. Never nil.
	Pulse *liveness.Meter
	// Connected: its transport is up.
	Connected bool
	// Lost: its transport said that it is over. There is no way back.
	Lost bool
	// Paused: it is silent because it was asked to be, as a warm standby.
	Paused bool
	// Probed: its path is being checked, and Unanswered is for how long the peer
	// has not answered.
	Probed     bool
	Unanswered time.Duration
	// Group is common to candidates that carry the media of one publisher, 0:
	// an encoder of its own.
	Group int
	// Behind is how much later than the first of its group it delivers the same
	// media, as far as that was measured.
	Behind time.Duration
	// Lossy: it lost more than 20 % for 2 s.
	Lossy bool
	// Usable: its codecs are ones that the viewers have.
	Usable bool
	// Held: the operator has taken it out. It is wanted only where there is no
	// other.
	Held bool
	// Claim: with a better rank than the current one it takes over as soon as
	// it flows, once. Its claim is renewed when its rank is raised above the
	// current one's. For publishers, whose priority says that they are meant.
	Claim bool
}

// able tells whether media can be expected of it.
func (c *Candidate) able() bool {
	return c.Connected && !c.Lost && !c.Paused
}

// Settings are how patient a Chooser is. Zero values are the defaults.
type Settings struct {
	MediaTimeout    time.Duration // default 500ms, at least 250ms
	AudioTimeout    time.Duration // default 1s
	RelativeTimeout time.Duration // default 150ms
	FailbackDelay   time.Duration // default 30s
	FailbackManual  bool          // only Prefer goes back
}

func (s Settings) filled() Settings {
	fill := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	fill(&s.MediaTimeout, 500*time.Millisecond)
	fill(&s.AudioTimeout, time.Second)
	fill(&s.RelativeTimeout, 150*time.Millisecond)
	fill(&s.FailbackDelay, 30*time.Second)
	s.MediaTimeout = max(s.MediaTimeout, 250*time.Millisecond)
	return s
}

// Cause tells why another candidate is wanted. One word for log and event.
type Cause string

const (
	CauseFirst        Cause = "first"         // there was none before
	CauseTransport    Cause = "transport"     // the connection is over
	CauseMediaTimeout Cause = "media_timeout" // no video for too long
	CauseAudioTimeout Cause = "audio_timeout" // no sound for too long, and no path
	CauseRelative     Cause = "relative"      // others with the same media go on
	CauseLoss         Cause = "loss"          // much is lost on the way
	CauseCodec        Cause = "codec"         // the viewers do not have its codec
	CauseFailback     Cause = "failback"      // the better one is well again
	CausePriority     Cause = "priority"      // a better one came
	CauseOperator     Cause = "operator"      // somebody asked for it
	CauseGone         Cause = "gone"          // there is none left
)

// State is how a candidate does.
type State uint8

const (
	Standby State = iota // no media is expected of it yet, or none came
	Up                   // it delivers, or is as quiet as is usual for it
	Suspect              // unusually quiet
	Down                 // dead
)

// String is a word for logs and snapshots.
func (s State) String() string {
	switch s {
	case Standby:
		return "standby"
	case Up:
		return "up"
	case Suspect:
		return "suspect"
	case Down:
		return "down"
	}
	return "unknown"
}

// Decision is what to do now.
type Decision struct {
	// Want is the Key of the wanted candidate, 0: there is none.
	Want uint64
	// Cause tells why Want is not what it was at the last step; empty: it is.
	Cause Cause
	// Start: one more source is needed, the wanted one is in doubt and nobody
	// else delivers. It holds until that changes; what was started is best kept
	// until the wanted one is Up.
	Start bool
	// Probe: check the path of the wanted candidate now and while this holds.
	Probe bool

	states [MaxCandidates]State
}

// State is the state of the candidate i of the list.
func (d *Decision) State(i int) State {
	if i < 0 || i >= MaxCandidates {
		return Standby
	}
	return d.states[i]
}
