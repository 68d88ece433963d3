package conns

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

func at(s string) netip.Addr { return netip.MustParseAddr(s) }

// One address has its places and no more, whatever it does; the others' are left.
func TestCount(t *testing.T) {
	for _, c := range []struct {
		name string
		from func(i int) netip.Addr
		want int
	}{
		{"one IPv4 address", func(int) netip.Addr { return at("198.51.100.7") }, 8},
		{"the same in IPv6", func(int) netip.Addr { return at("::ffff:198.51.100.7") }, 8},
		{"an IPv6 /64", func(i int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}) }, 8},
		{"an IPv6 /48", func(i int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i)}) }, 32},
		{"many IPv4 addresses", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }, 100},
		{"this machine", func(int) netip.Addr { return at("127.0.0.1") }, 50},
		{"a pipe", func(int) netip.Addr { return netip.Addr{} }, 50},
	} {
		count := NewCount(Limits{Total: 100, PerAddress: 8})
		var taken []netip.Addr
		for i := range 200 {
			if a := c.from(i); count.Take(a) {
				taken = append(taken, a)
			}
		}
		if len(taken) != c.want {
			t.Errorf("%s: %d of 200 got a place, want %d", c.name, len(taken), c.want)
		}
		if got := count.Take(at("203.0.113.1")); got != (c.want < 100) {
			t.Errorf("%s: another address gets a place: %v", c.name, got)
		}
		count = NewCount(Limits{Total: 100, PerAddress: 8})
		for i := range 500 { // who comes and goes is never refused
			if !count.Take(c.from(i)) {
				t.Fatalf("%s: refused at its %dth connection, all others of which had ended", c.name, i)
			}
			count.Give(c.from(i))
		}
		if len(count.held) != 0 || count.Total() != 0 {
			t.Errorf("%s: %d entries and %d places are left behind", c.name, len(count.held), count.Total())
		}
	}
}

// A stranger that opens connections and says nothing keeps nobody else out, and what is too many is closed at once.
func TestLimit(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a second loopback address")
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(tcp, Limits{Total: 40, PerAddress: 8, Near: []netip.Prefix{}}, slog.New(slog.DiscardHandler))
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Write([]byte{1})
				io.Copy(io.Discard, c)
			}()
		}
	}()
	open := func(from string) (net.Conn, bool) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		var one [1]byte
		_, err = io.ReadFull(c, one[:])
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatal("it was neither served nor closed")
		}
		return c, err == nil
	}
	var held []net.Conn
	for range 100 {
		if c, ok := open("127.0.0.2"); ok {
			held = append(held, c)
		}
	}
	if len(held) != 8 {
		t.Errorf("the stranger holds %d places, want 8", len(held))
	}
	if _, ok := open("127.0.0.1"); !ok {
		t.Error("another address is kept out")
	}
	for _, c := range held {
		c.Close()
	}
	for end := time.Now().Add(10 * time.Second); ; {
		if _, ok := open("127.0.0.2"); ok {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the places of connections that ended did not come back")
		}
	}
}
