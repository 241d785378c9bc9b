package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	secretKey     = "wtn/turn_secret"
	secretTimeout = 10 * time.Second
)

var noContext = context.Background()

// storedSecret is the one secret of all gateways that share a storage. Who
// comes first makes it, under the storage's lock.
func storedSecret(ctx context.Context, storage certmagic.Storage) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	if s, err := loadSecret(ctx, storage); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := storage.Lock(ctx, secretKey); err != nil {
		return "", fmt.Errorf("locking %s: %w", secretKey, err)
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), secretKey) }()
	s, err := loadSecret(ctx, storage)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s = randomSecret()
	if err := storage.Store(ctx, secretKey, []byte(s)); err != nil {
		return "", fmt.Errorf("storing %s: %w", secretKey, err)
	}
	return s, nil
}

func loadSecret(ctx context.Context, storage certmagic.Storage) (string, error) {
	b, err := storage.Load(ctx, secretKey)
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s is empty: delete it from the storage", secretKey)
	}
	return string(b), err
}

func randomSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// resolveSecret fills in the secret that is not configured. A storage that
// fails must not keep media from flowing: then the secret is this process's.
func (p *turnPool) resolveSecret(ctx context.Context, t *turnSettings, storage certmagic.Storage, logger *zap.Logger) {
	if t == nil || t.config.Secrets[0] != "" {
		return
	}
	s, err := storedSecret(ctx, storage)
	if err != nil {
		logger.Warn("no TURN secret from the storage: one of this process is used, which other gateways do not know", zap.Error(err))
		p.mu.Lock()
		if p.fallback == "" {
			p.fallback = randomSecret()
		}
		s = p.fallback
		p.mu.Unlock()
	}
	t.config.Secrets[0] = s
}
