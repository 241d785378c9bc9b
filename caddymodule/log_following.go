package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// followingLogger is for what outlives configurations: each line goes to the
// default log of the configuration that runs at that moment.
func followingLogger(name string) *zap.Logger { return zap.New(followingCore{}).Named(name) }

type followingCore struct{ fields []zapcore.Field }

func current() zapcore.Core { return caddy.Log().Core() }

func (c followingCore) Enabled(l zapcore.Level) bool { return current().Enabled(l) }

func (c followingCore) With(f []zapcore.Field) zapcore.Core {
	return followingCore{append(c.fields[:len(c.fields):len(c.fields)], f...)}
}

func (c followingCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c followingCore) Write(e zapcore.Entry, f []zapcore.Field) error {
	return current().With(c.fields).Write(e, f)
}

func (c followingCore) Sync() error { return current().Sync() }
