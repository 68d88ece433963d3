package tunnel

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// greet reads what a client of SOCKS5 or of HTTP CONNECT says before its bytes, and returns where it wants to go, and
// how to answer.
func greet(in *bufio.Reader, out io.Writer) (to string, answer func(error), err error) {
	first, err := in.Peek(1)
	if err != nil {
		return "", nil, err
	}
	if first[0] == 5 {
		return socks(in, out)
	}
	limited := &io.LimitedReader{R: in, N: 4 << 10} // http.ReadRequest reads no further than what in has
	r, err := http.ReadRequest(bufio.NewReaderSize(oneByte{limited}, 16))
	if err != nil || r.Method != http.MethodConnect {
		_, _ = io.WriteString(out, "HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		return "", nil, fmt.Errorf("tunnel: no CONNECT: %w", types.BadEncoding)
	}
	return r.Host, func(err error) {
		switch {
		case err == nil:
			_, _ = io.WriteString(out, "HTTP/1.1 200 Connection established\r\n\r\n")
		case types.ReasonOf(err) == wireless.DestDenied:
			_, _ = fmt.Fprintf(out, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%v", len(err.Error()), err)
		default:
			_, _ = fmt.Fprintf(out, "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%v", len(err.Error()), err)
		}
	}, nil
}

// oneByte hands on a byte at a time, so that nothing behind the request's head is read.
type oneByte struct{ io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.Reader.Read(b[:min(len(b), 1)]) }

func socks(in *bufio.Reader, out io.Writer) (string, func(error), error) {
	fail := func(err error) (string, func(error), error) { return "", nil, err }
	var head [4]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return fail(err)
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(in, methods); err != nil {
		return fail(err)
	}
	open := false
	for _, m := range methods {
		open = open || m == 0
	}
	if !open {
		_, _ = out.Write([]byte{5, 0xff})
		return fail(fmt.Errorf("tunnel: SOCKS5 with a password only: %w", types.BadEncoding))
	}
	if _, err := out.Write([]byte{5, 0}); err != nil {
		return fail(err)
	}
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return fail(err)
	}
	say := func(code byte) { _, _ = out.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}) }
	if head[0] != 5 || head[1] != 1 {
		say(7)
		return fail(fmt.Errorf("tunnel: SOCKS command %d: %w", head[1], types.BadEncoding))
	}
	size := map[byte]int{1: 4, 4: 16}[head[3]]
	if head[3] == 3 {
		n, err := in.ReadByte()
		if err != nil {
			return fail(err)
		}
		size = int(n)
	}
	if size == 0 {
		say(8)
		return fail(fmt.Errorf("tunnel: SOCKS address of type %d: %w", head[3], types.BadEncoding))
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(in, b); err != nil {
		return fail(err)
	}
	host := string(b[:size])
	if head[3] != 3 {
		addr, _ := netip.AddrFromSlice(b[:size])
		host = addr.String()
	}
	to := net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b[size:]))))
	return to, func(err error) {
		switch {
		case err == nil:
			say(0)
		case types.ReasonOf(err) == wireless.DestDenied:
			say(2)
		case types.ReasonOf(err) == "":
			say(4)
		default:
			say(1)
		}
	}, nil
}
