package turnsvc

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"go.uber.org/zap"
)

// libraryLog passes warnings and errors of the library on, at debug level and at most one a
// second. Since the library is asked only what was checked before, each is worth reading; since
// a client may still cause some, none may flood.
type libraryLog struct {
	log    *zap.Logger
	next   atomic.Int64
	missed atomic.Uint64
}

// NewLogger implements logging.LoggerFactory.
func (l *libraryLog) NewLogger(string) logging.LeveledLogger { return l }

func (l *libraryLog) emit(format string, args ...any) {
	now := time.Now().UnixNano()
	if next := l.next.Load(); now < next || !l.next.CompareAndSwap(next, now+int64(time.Second)) {
		l.missed.Add(1)
		return
	}
	if e := l.log.Check(zap.DebugLevel, "turn library"); e != nil {
		e.Write(zap.String("text", fmt.Sprintf(format, args...)), zap.Uint64("suppressed", l.missed.Swap(0)))
	}
}

// The levels below warning tell every packet; they are dropped before formatting.

func (l *libraryLog) Trace(string)                      {}
func (l *libraryLog) Tracef(string, ...any)             {}
func (l *libraryLog) Debug(string)                      {}
func (l *libraryLog) Debugf(string, ...any)             {}
func (l *libraryLog) Info(string)                       {}
func (l *libraryLog) Infof(string, ...any)              {}
func (l *libraryLog) Warn(msg string)                   { l.emit("%s", msg) }
func (l *libraryLog) Warnf(format string, args ...any)  { l.emit(format, args...) }
func (l *libraryLog) Error(msg string)                  { l.emit("%s", msg) }
func (l *libraryLog) Errorf(format string, args ...any) { l.emit(format, args...) }
