package lab

import (
	"bytes"
	"sync"
)

// logBuffer keeps what a process writes and tells when it has written something.
type logBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	want []byte
	seen chan struct{}
}

func (l *logBuffer) await(text string, seen chan struct{}) { l.want, l.seen = []byte(text), seen }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.b.Write(p)
	if l.want != nil && bytes.Contains(l.b.Bytes(), l.want) {
		l.want = nil
		close(l.seen)
	}
	return n, err
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
