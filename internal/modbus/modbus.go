// Package modbus serves registers that are only read over Modbus TCP, after "MODBUS Application Protocol
// Specification" V1.1b3 and "MODBUS Messaging on TCP/IP Implementation Guide" V1.0b; with TLS it is "MODBUS/TCP
// Security" V3.6 as far as authentication goes.
//
// It answers functions 3 and 4 (read holding and input registers, which are the same here) and refuses all
// others with an exception. The caller owns the listener, so it may be of any kind.
package modbus

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Exception is a code that a request is refused with; 0 is none.
type Exception byte

// The exceptions.
const (
	IllegalFunction Exception = 1
	IllegalAddress  Exception = 2
	IllegalValue    Exception = 3
	DeviceFailure   Exception = 4
	DeviceBusy      Exception = 6
	NoTarget        Exception = 11 // behind a gateway: the unit is not known, or does not answer
)

const (
	readHolding = 3
	readInput   = 4
	maxRead     = 125 // words of one request
	maxADU      = 260 // bytes of a message
	header      = 7   // transaction, protocol, length, unit
)

// Server answers connections. Its fields do not change once Serve runs.
type Server struct {
	// Greet says who is at the other end of a connection, as Read wants it; an error closes it. It may take
	// until the deadline that the connection has then. Nil: everybody is nil.
	Greet func(net.Conn) (who any, err error)
	// Read returns count words of a unit from an address on. It is called from many goroutines.
	Read func(who any, unit byte, address, count uint16) ([]uint16, Exception)
	// MaxConns bounds the connections at a time; a further one is closed at once. 0: 32.
	MaxConns int
	// Idle is after how long a connection is closed on which nothing is asked, or whose answers nobody takes.
	// 0: 2 minutes.
	Idle time.Duration

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	tasks  sync.WaitGroup
}

// Serve accepts connections until the listener closes, and returns once all have ended.
func (s *Server) Serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors, say
			continue
		}
		if !s.admit(conn) {
			conn.Close()
			continue
		}
		go func() {
			defer s.tasks.Done()
			s.answer(conn)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		}()
	}
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.tasks.Wait()
}

// admit takes a connection on, if there is room.
func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.MaxConns
	if most == 0 {
		most = 32
	}
	if s.closed || len(s.conns) >= most {
		return false
	}
	if s.conns == nil {
		s.conns = map[net.Conn]bool{}
	}
	s.conns[conn] = true
	s.tasks.Add(1)
	return true
}

// answer answers a connection's requests, one after the other, until it ends or breaks the protocol.
func (s *Server) answer(conn net.Conn) {
	idle := s.Idle
	if idle == 0 {
		idle = 2 * time.Minute
	}
	var who any
	if s.Greet != nil {
		conn.SetDeadline(time.Now().Add(min(idle, 10*time.Second)))
		var err error
		if who, err = s.Greet(conn); err != nil {
			return
		}
	}
	var buf [maxADU]byte
	for {
		conn.SetDeadline(time.Now().Add(idle))
		if _, err := io.ReadFull(conn, buf[:header]); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint16(buf[4:])) // of what follows it: the unit and the request
		if binary.BigEndian.Uint16(buf[2:]) != 0 || length < 2 || length > maxADU-6 {
			return
		}
		pdu := buf[header : 6+length]
		if _, err := io.ReadFull(conn, pdu); err != nil {
			return
		}
		answer := s.pdu(who, buf[6], pdu)
		out := append(make([]byte, 0, maxADU), buf[:header]...)
		binary.BigEndian.PutUint16(out[4:], uint16(len(answer)+1))
		conn.SetDeadline(time.Now().Add(idle)) // Read may have taken a while
		if _, err := conn.Write(append(out, answer...)); err != nil {
			return
		}
	}
}

// pdu answers one request.
func (s *Server) pdu(who any, unit byte, pdu []byte) []byte {
	refuse := func(e Exception) []byte { return []byte{pdu[0] | 0x80, byte(e)} }
	if pdu[0] != readHolding && pdu[0] != readInput {
		return refuse(IllegalFunction)
	}
	if len(pdu) != 5 {
		return refuse(IllegalValue)
	}
	address, count := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
	if count == 0 || count > maxRead {
		return refuse(IllegalValue)
	}
	if uint32(address)+uint32(count) > 1<<16 {
		return refuse(IllegalAddress)
	}
	words, exception := s.Read(who, unit, address, count)
	switch {
	case exception != 0:
		return refuse(exception)
	case len(words) != int(count):
		return refuse(DeviceFailure)
	}
	out := append(make([]byte, 0, 2+2*count), pdu[0], byte(2*count))
	for _, w := range words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}
