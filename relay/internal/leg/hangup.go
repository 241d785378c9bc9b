package leg

// hangUp gives the peer up: nothing is sent any more but the end of DTLS, and
// HandleEnd gets the cause.
func (l *Leg) hangUp(cause error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = cause
	}
	l.path.Store(nil)
	conn, pipe := l.dtls.conn, l.dtls.pipe
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // its error is that of a dead path
	}
	if pipe != nil {
		_ = pipe.Close() // runDTLS tells the handler
		return
	}
	l.end(cause)
}
