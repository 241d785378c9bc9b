package codec

import (
	"fmt"
	"strings"
)

// h265 is what the format parameters of an H.265 entry mean, with the defaults
// of RFC 7798 section 7.1.
type h265 struct {
	profile int    // 1 main, 2 main 10, 3 main still picture, ...
	tier    int    // 0 main, 1 high
	level   int    // 30 times the level
	txMode  string // SRST unless stated
}

func parseH265(fmtp string) h265 {
	h := h265{
		profile: intParam(fmtp, "profile-id", 1),
		tier:    intParam(fmtp, "tier-flag", 0),
		level:   intParam(fmtp, "level-id", 93),
		txMode:  "SRST",
	}
	if v, ok := param(fmtp, "tx-mode"); ok {
		h.txMode = strings.ToUpper(v)
	}
	return h
}

func (h h265) String() string {
	name := fmt.Sprintf("profile %d", h.profile)
	switch h.profile {
	case 1:
		name = "main"
	case 2:
		name = "main 10"
	case 3:
		name = "main still picture"
	}
	if h.tier == 1 {
		name += " high tier"
	}
	return fmt.Sprintf("%s level %d.%d", name, h.level/30, h.level%30/3)
}

// distance: main still picture < main < main 10, every other profile stands
// alone; the high tier takes the main tier.
func (h h265) distance(viewer h265) (int, error) {
	if h.txMode != viewer.txMode {
		return 0, fmt.Errorf("the source has tx-mode %s and the viewer %s", h.txMode, viewer.txMode)
	}
	rank := func(profile int) int {
		switch profile {
		case 3:
			return 0
		case 1:
			return 1
		case 2:
			return 2
		}
		return -1
	}
	s, v := rank(h.profile), rank(viewer.profile)
	if h.profile != viewer.profile && (s < 0 || v < s) || h.tier > viewer.tier {
		return 0, fmt.Errorf("the source is H265 %v and the viewer decodes H265 %v", h, viewer)
	}
	d := (v-s)*4 + (viewer.tier-h.tier)*2
	if h.level > viewer.level {
		d++
	}
	return d, nil
}
