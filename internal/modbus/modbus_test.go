package modbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// serve runs a server whose units 1 to 3 have the registers 100 to 299, each its own address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	s.Read = func(_ any, unit byte, address, count uint16) ([]uint16, Exception) {
		switch {
		case unit == 0 || unit > 3:
			return nil, NoTarget
		case unit == 3:
			return nil, 0 // broken: no words
		case address < 100 || address+count > 300:
			return nil, IllegalAddress
		}
		words := make([]uint16, count)
		for i := range words {
			words[i] = address + uint16(i)
		}
		return words, 0
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// frame is a message of transaction 7.
func frame(unit byte, pdu ...byte) []byte {
	b := []byte{0, 7, 0, 0, 0, byte(len(pdu) + 1), unit}
	return append(b, pdu...)
}

// ask returns the PDU that answers a message.
func ask(t *testing.T, conn net.Conn, message []byte) []byte {
	t.Helper()
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	var head [7]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(head[:4], []byte{0, 7, 0, 0}) || head[6] != message[6] {
		t.Errorf("the answer's head is % x", head)
	}
	pdu := make([]byte, binary.BigEndian.Uint16(head[4:])-1)
	if _, err := io.ReadFull(conn, pdu); err != nil {
		t.Fatal(err)
	}
	return pdu
}

func TestAnswers(t *testing.T) {
	conn := dial(t, serve(t, &Server{}))
	for what, c := range map[string]struct{ message, want []byte }{
		"read":              {frame(1, 3, 0, 200, 0, 2), []byte{3, 4, 0, 200, 0, 201}},
		"input registers":   {frame(2, 4, 0, 100, 0, 1), []byte{4, 2, 0, 100}},
		"before the first":  {frame(1, 3, 0, 99, 0, 2), []byte{0x83, 2}},
		"beyond all":        {frame(1, 3, 255, 255, 0, 2), []byte{0x83, 2}},
		"nothing":           {frame(1, 3, 0, 200, 0, 0), []byte{0x83, 3}},
		"too much":          {frame(1, 3, 0, 200, 0, 126), []byte{0x83, 3}},
		"cut short":         {frame(1, 3, 0, 200, 0), []byte{0x83, 3}},
		"another unit":      {frame(9, 3, 0, 200, 0, 1), []byte{0x83, 11}},
		"a unit that fails": {frame(3, 3, 0, 200, 0, 1), []byte{0x83, 4}},
		"write one":         {frame(1, 6, 0, 200, 0, 1), []byte{0x86, 1}},
		"write many":        {frame(1, 16, 0, 200, 0, 1, 2, 0, 1), []byte{0x90, 1}},
		"coils":             {frame(1, 1, 0, 200, 0, 1), []byte{0x81, 1}},
	} {
		if got := ask(t, conn, c.message); !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x, want % x", what, got, c.want)
		}
	}
	if got := ask(t, conn, frame(1, 3, 0, 100, 0, 125)); len(got) != 252 {
		t.Errorf("125 registers in %d bytes", len(got))
	}
}

// closed reports whether the other side ends a connection.
func closed(conn net.Conn) bool {
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

// TestBroken: what is no Modbus ends the connection.
func TestBroken(t *testing.T) {
	address := serve(t, &Server{})
	for what, message := range map[string][]byte{
		"another protocol": {0, 7, 0, 1, 0, 6, 1, 3, 0, 200, 0, 1},
		"no function":      {0, 7, 0, 0, 0, 1, 1},
		"too long":         {0, 7, 0, 0, 1, 0, 1, 3, 0, 200, 0, 1},
		"HTTP":             []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		conn := dial(t, address)
		conn.Write(message)
		if !closed(conn) {
			t.Errorf("%s: the connection stays open", what)
		}
	}
}

// TestBounds: a connection beyond the bound is closed, and makes room for nobody; a silent one is closed after
// a while.
func TestBounds(t *testing.T) {
	address := serve(t, &Server{MaxConns: 2, Idle: 300 * time.Millisecond})
	a, b := dial(t, address), dial(t, address)
	ask(t, a, frame(1, 3, 0, 200, 0, 1))
	ask(t, b, frame(1, 3, 0, 200, 0, 1))
	if !closed(dial(t, address)) {
		t.Error("a third connection is served")
	}
	if !closed(a) || !closed(b) {
		t.Error("silent connections stay")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the places are free again, in a moment
		conn := dial(t, address)
		conn.Write(frame(1, 3, 0, 200, 0, 1))
		if _, err := io.ReadFull(conn, make([]byte, 11)); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nobody is served any more")
		}
	}
}

// TestGreet: who is not known is not served.
func TestGreet(t *testing.T) {
	conn := dial(t, serve(t, &Server{Greet: func(net.Conn) (any, error) { return nil, errors.New("no") }}))
	conn.Write(frame(1, 3, 0, 200, 0, 1))
	if !closed(conn) {
		t.Error("it is served")
	}
}
