package leg

import (
	"fmt"

	"github.com/pion/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// pionLog carries pion's log lines to zap at debug level: what pion calls a
// warning is a peer's business, not the operator's.
type pionLog struct{ l *zap.Logger }

func (p pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionLog{p.l.Named(scope)}
}

func (p pionLog) log(msg string) { p.l.Debug(msg) }

func (p pionLog) logf(format string, args []any) {
	if e := p.l.Check(zapcore.DebugLevel, ""); e != nil {
		e.Message = fmt.Sprintf(format, args...)
		e.Write()
	}
}

// Trace is below debug: dropped.
func (p pionLog) Trace(string)              {}
func (p pionLog) Tracef(string, ...any)     {}
func (p pionLog) Debug(msg string)          { p.log(msg) }
func (p pionLog) Debugf(f string, a ...any) { p.logf(f, a) }
func (p pionLog) Info(msg string)           { p.log(msg) }
func (p pionLog) Infof(f string, a ...any)  { p.logf(f, a) }
func (p pionLog) Warn(msg string)           { p.log(msg) }
func (p pionLog) Warnf(f string, a ...any)  { p.logf(f, a) }
func (p pionLog) Error(msg string)          { p.log(msg) }
func (p pionLog) Errorf(f string, a ...any) { p.logf(f, a) }
