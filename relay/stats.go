package relay

import "time"

// Stats is a snapshot of the hub. Counters only grow.
type Stats struct {
	Publishers, Subscribers, Streams int
	Pulls, Pushes                    int    // sessions of ours at upstreams
	PacketsIn, BytesIn               uint64 // RTP from publishers, authenticated
	PacketsOut, BytesOut             uint64 // RTP to subscribers
	NACKsIn, Retransmitted           uint64
	PLIsIn, PLIsOut                  uint64
	PacketsShed                      uint64 // left out for subscribers that could not follow
	JoinsRefused                     uint64
	Busy                             float64           // share of time the busiest sending loop worked, last second
	Lag                              time.Duration     // arrival to send, worst of the last second
	SessionsEnded                    map[string]uint64 // by "role/reason"
	Takeovers                        TakeoverStats
}

// StreamStats is a snapshot of one stream.
type StreamStats struct {
	Name        string
	Since       time.Time
	Live        bool          // packets flow
	Publisher   *SessionInfo  // whose media it is, nil while nobody publishes
	Sources     []SourceStats // all that it could come from, the present one first
	Subscribers int
	Pulls       []DockStats // where it is pulled from, if it is
	Pushes      []DockStats // where it is pushed to
	Tracks      []TrackStats
}

// SourceStats is one place a stream's media can come from.
type SourceStats struct {
	Session   SessionInfo
	Connected bool
	Flows     bool // live media arrives
	Program   bool // viewers get it
	Held      bool // taken out by the operator
	Priority  int
	Lossy     bool
}

// TrackStats is a snapshot of what the program sends of one kind of media.
type TrackStats struct {
	Kind    string // audio, video
	Codec   string
	RID     string  // of a simulcast layer, empty: it is none
	Bitrate float64 // bits/s, last second
	// Width and Height are those of the newest key frame, 0 when unknown.
	Width, Height int
	PacketsLost   uint64        // never arrived from the source
	Jitter        float64       // seconds
	KeyframeEvery time.Duration // distance of the last two key frames
	Takeovers     uint64
}
