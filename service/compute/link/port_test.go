package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// ports is a gateway that keeps the connections that come.
func ports(t *testing.T) (*Client, Gateway, <-chan *Conn) {
	t.Helper()
	come := make(chan *Conn, 100)
	c, g := world(t, &jobs{port: func(conn *Conn) { come <- conn }})
	return c, g, come
}

// TestPort: each direction ends by itself, all that was written before comes, and what breaks off does not look
// like an end.
func TestPort(t *testing.T) {
	c, g, come := ports(t)
	if _, err := c.Port(t.Context(), g, types.Hash{7}, 8); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("a number that nobody asked for: %v", err)
	}
	device, err := c.Port(t.Context(), g, types.Hash{7}, 7)
	if err != nil {
		t.Fatal(err)
	}
	gateway := <-come
	up, down := bytes.Repeat([]byte("0123456789"), 100_000), bytes.Repeat([]byte("abcdefg"), 123_457)
	send := func(c *Conn, p []byte) {
		if _, err := c.Write(p); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if _, err := c.Write(p[:1]); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("written behind the end: %v", err)
		}
	}
	go send(gateway, down)
	if got, err := io.ReadAll(device); err != nil || !bytes.Equal(got, down) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// The other direction goes on, and what it wrote last comes although its side closes at once.
	go func() {
		send(device, up)
		_ = device.Close()
	}()
	if got, err := io.ReadAll(gateway); err != nil || !bytes.Equal(got, up) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_ = gateway.Close()

	for _, first := range []string{"the device", "the gateway"} {
		device, err := c.Port(t.Context(), g, types.Hash{7}, 7)
		if err != nil {
			t.Fatal(err)
		}
		gateway := <-come
		breaks, sees := device, gateway
		if first == "the gateway" {
			breaks, sees = gateway, device
		}
		_ = breaks.Close()
		if n, err := sees.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s breaks: %d %v", first, n, err)
		}
		_ = sees.Close()
	}
}

// TestPortIdle: a connection on which nothing comes or goes ends.
func TestPortIdle(t *testing.T) {
	c, g, come := ports(t)
	c.idle = 50 * time.Millisecond
	device, err := c.Port(t.Context(), g, types.Hash{7}, 7)
	if err != nil {
		t.Fatal(err)
	}
	gateway := <-come
	<-device.Closed()
	if _, err := gateway.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Error(err)
	}
	_ = gateway.Close()
}

// TestPortsHeldUp: a customer who reads nothing of all but one connection that a job may have does not hold up that
// one, and what waits for it is bounded.
func TestPortsHeldUp(t *testing.T) {
	c, g, come := ports(t)
	var sent atomic.Int64
	for range MaxConns - 1 {
		device, err := c.Port(t.Context(), g, types.Hash{7}, 7)
		if err != nil {
			t.Fatal(err)
		}
		defer device.Close()
		held := <-come
		defer held.Close()
		go func() {
			for piece := make([]byte, maxPiece); ; {
				n, err := device.Write(piece)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}()
	}
	for last, still := int64(-1), 0; still < 5; time.Sleep(20 * time.Millisecond) { // until all of them stand
		if now := sent.Load(); now == last {
			still++
		} else {
			last, still = now, 0
		}
	}
	if n := sent.Load(); n > MaxConns*(portBuffer+2*maxPiece) {
		t.Errorf("%d bytes wait", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	device, err := c.Port(ctx, g, types.Hash{7}, 7)
	if err != nil {
		t.Fatal(err)
	}
	gateway := <-come
	go func() { // an echo
		_, _ = io.Copy(struct{ io.Writer }{device}, device)
		_ = device.CloseWrite()
	}()
	want := bytes.Repeat([]byte("x"), portBuffer/2)
	go func() {
		_, _ = gateway.Write(want)
		_ = gateway.CloseWrite()
	}()
	done := make(chan int, 1)
	go func() {
		got, _ := io.ReadAll(gateway)
		done <- len(got)
	}()
	select {
	case n := <-done:
		if n != len(want) {
			t.Errorf("%d bytes came back of %d", n, len(want))
		}
	case <-ctx.Done():
		t.Error("one that is read waits for those that are not")
	}
	_ = gateway.Close()
}

// TestRelay: what can't be half closed is closed once the other side has ended.
func TestRelay(t *testing.T) {
	a, b := net.Pipe()
	x, y := net.Pipe()
	go Relay(b, x)
	go func() {
		_, _ = a.Write([]byte("all"))
		_ = a.Close()
	}()
	if got, err := io.ReadAll(y); err != nil || string(got) != "all" {
		t.Errorf("%q %v", got, err)
	}
}
