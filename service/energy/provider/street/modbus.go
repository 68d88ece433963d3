package street

import (
	"encoding/binary"
	"io"
	"net"
	"time"

	"github.com/cairn-network/cairn/internal/modbus"
)

// maxConns bounds the connections that one home serves at a time; a further one is closed at once.
const maxConns = 16

// idle is after how long a connection is closed on which nothing is asked.
const idle = 5 * time.Minute

// serve answers a home's connections until the listener closes.
func (h *Home) serve(l net.Listener) {
	server := modbus.Server{Read: h.read, MaxConns: maxConns, Idle: idle}
	server.Serve(listener{l, h})
}

// read returns registers of a unit.
func (h *Home) read(_ any, unit byte, address, count uint16) ([]uint16, modbus.Exception) {
	u := h.unit(unit)
	if u == nil {
		return nil, modbus.NoTarget
	}
	h.street.mu.Lock()
	defer h.street.mu.Unlock()
	words, ok := u.registers().Read(address, count)
	if !ok {
		return nil, modbus.IllegalAddress
	}
	return words, 0
}

// listener accepts connections on which a home's units show their faults.
type listener struct {
	net.Listener
	home *Home
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wire{conn, l.home}, nil
}

// wire is a connection whose answers suffer the fault of the unit that gives them: each Write is one answer.
type wire struct {
	net.Conn
	home *Home
}

const (
	lengthAt = 4 // of an answer: how many bytes follow the length
	unitAt   = 6
	codeAt   = 7 // the function, or what it is refused with
)

func (w wire) Write(answer []byte) (int, error) {
	fault := w.home.fault(answer[unitAt])
	out := answer
	if fault.Exception != 0 {
		out = append(make([]byte, 0, codeAt+2), answer[:codeAt]...)
		binary.BigEndian.PutUint16(out[lengthAt:], 3)
		out = append(out, answer[codeAt]|0x80, byte(fault.Exception))
	}
	if fault.Silent {
		return len(answer), nil
	}
	if n := fault.Truncate; n > 0 && n < len(out) {
		w.Conn.Write(out[:n])
		return n, io.ErrShortWrite // which ends the connection
	}
	if _, err := w.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(answer), nil
}

// fault returns what a unit does wrong now.
func (h *Home) fault(unit byte) Fault {
	u := h.unit(unit)
	if u == nil {
		return Fault{}
	}
	h.street.mu.Lock()
	defer h.street.mu.Unlock()
	return u.fault
}
