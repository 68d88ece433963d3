package street

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cairn-network/cairn/internal/sunspec"
)

// Modbus TCP, after "MODBUS Messaging on TCP/IP Implementation Guide" V1.0b and "MODBUS Application Protocol" V1.1b3: as much of it as a
// meter needs that is only read.
const (
	readHolding = 3
	readInput   = 4

	IllegalFunction = 1 // exception codes
	IllegalAddress  = 2
	IllegalValue    = 3
	DeviceFailure   = 4
	DeviceBusy      = 6
	NoTarget        = 11 // the gateway knows no such unit

	maxADU = 260
)

// maxConns bounds the connections that one home serves at a time; a further one is closed at once.
const maxConns = 16

// idle is after how long a connection is closed on which nothing is asked.
const idle = 5 * time.Minute

// server answers one home's connections.
type server struct {
	units func(id byte) *Unit

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	tasks  sync.WaitGroup
}

// serve accepts connections until the listener closes.
func (s *server) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors, say
			continue
		}
		s.mu.Lock()
		if s.closed || len(s.conns) >= maxConns {
			s.mu.Unlock()
			conn.Close()
			continue
		}
		s.conns[conn] = true
		s.tasks.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.tasks.Done()
			s.answer(conn)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		}()
	}
}

// close ends all connections.
func (s *server) close() {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.tasks.Wait()
}

// answer answers a connection's requests, one after the other, until it ends or breaks the protocol.
func (s *server) answer(conn net.Conn) {
	var buf [maxADU]byte
	for {
		conn.SetDeadline(time.Now().Add(idle))
		if _, err := io.ReadFull(conn, buf[:7]); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint16(buf[4:]))
		if binary.BigEndian.Uint16(buf[2:]) != 0 || length < 2 || length > maxADU-6 {
			return
		}
		pdu := buf[7 : 6+length]
		if _, err := io.ReadFull(conn, pdu); err != nil {
			return
		}
		var fault Fault
		var answer []byte
		unit := s.units(buf[6])
		if unit == nil {
			answer = []byte{pdu[0] | 0x80, NoTarget}
		} else {
			answer, fault = unit.answer(pdu)
		}
		if fault.Silent {
			continue
		}
		out := make([]byte, 7, 7+len(answer))
		copy(out, buf[:7])
		binary.BigEndian.PutUint16(out[4:], uint16(len(answer)+1))
		out = append(out, answer...)
		if n := fault.Truncate; n > 0 && n < len(out) {
			conn.Write(out[:n])
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer returns the PDU that answers one, and the fault that the unit has.
func (u *Unit) answer(pdu []byte) ([]byte, Fault) {
	u.home.street.mu.Lock()
	defer u.home.street.mu.Unlock()
	refuse := func(code byte) ([]byte, Fault) { return []byte{pdu[0] | 0x80, code}, u.fault }
	if u.fault.Exception != 0 {
		return refuse(u.fault.Exception)
	}
	if pdu[0] != readHolding && pdu[0] != readInput {
		return refuse(IllegalFunction)
	}
	if len(pdu) != 5 {
		return refuse(IllegalValue)
	}
	at, n := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
	if n == 0 || n > sunspec.MaxRead {
		return refuse(IllegalValue)
	}
	words, ok := u.registers().Read(at, n)
	if !ok {
		return refuse(IllegalAddress)
	}
	out := append(make([]byte, 0, 2+2*n), pdu[0], byte(2*n))
	for _, w := range words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out, u.fault
}
