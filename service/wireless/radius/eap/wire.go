package eap

import (
	"context"
	"errors"
	"net"
	"time"
)

// wire is what crypto/tls takes for a connection. It is used by two goroutines in turn: that of TLS works until it
// reads and nothing is there; then exchange returns what it wrote.
type wire struct {
	in    []byte
	out   []byte
	wants chan struct{} // TLS reads, and nothing is there
	more  chan []byte
	ended chan struct{} // the conversation is over
}

var errOver = errors.New("the conversation is over")

func newWire() *wire {
	return &wire{wants: make(chan struct{}), more: make(chan []byte), ended: make(chan struct{})}
}

func (w *wire) Read(b []byte) (int, error) {
	if len(w.in) == 0 {
		select {
		case w.wants <- struct{}{}:
		case <-w.ended:
			return 0, errOver
		}
		select {
		case w.in = <-w.more:
		case <-w.ended:
			return 0, errOver
		}
	}
	n := copy(b, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wire) Write(b []byte) (int, error) {
	if len(w.out)+len(b) > maxMessage {
		return 0, errors.New("a message that is too long")
	}
	w.out = append(w.out, b...)
	return len(b), nil
}

// settle waits until TLS wants more or done is closed, and returns what TLS wrote.
func (w *wire) settle(ctx context.Context, done <-chan struct{}) (out []byte, err error) {
	select {
	case <-w.wants:
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out, w.out = w.out, nil
	return out, nil
}

// give hands a message to TLS, which has wanted one.
func (w *wire) give(ctx context.Context, message []byte) error {
	select {
	case w.more <- message:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
