package probe

import (
	"io"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

// peer is a connection and how far it has come.
type peer struct {
	pc   *webrtc.PeerConnection
	over chan struct{} // closed when the connection is lost or closed
	up   chan struct{} // closed when it is there

	mu        sync.Mutex
	ice, dtls time.Time
	once      sync.Once
}

// newPeer makes a connection that offers all codecs there are.
func newPeer() (*peer, error) {
	me, ir, se := new(webrtc.MediaEngine), new(interceptor.Registry), webrtc.SettingEngine{}
	if err := me.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	if err := webrtc.RegisterDefaultInterceptors(me, ir); err != nil {
		return nil, err
	}
	se.LoggerFactory = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: io.Discard}
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(ir), webrtc.WithSettingEngine(se))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	p := &peer{pc: pc, over: make(chan struct{}), up: make(chan struct{})}
	pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if s == webrtc.ICEConnectionStateConnected && p.ice.IsZero() {
			p.ice = time.Now()
		}
	})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch s {
		case webrtc.PeerConnectionStateConnected:
			if p.dtls.IsZero() {
				p.dtls = time.Now()
				close(p.up)
			}
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			p.once.Do(func() { close(p.over) })
		}
	})
	return p, nil
}

func (p *peer) lost() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}
