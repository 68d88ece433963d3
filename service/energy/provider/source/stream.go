package source

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/cairn-network/cairn/service/energy/provider/dsmr"
	"github.com/cairn-network/cairn/service/energy/provider/sml"
)

// stream is a meter that speaks of itself, over TCP or a serial line.
type stream struct {
	open func(ctx context.Context) (io.ReadCloser, error)
	next func(*bufio.Reader) ([]byte, error)
	take func([]byte) (Fields, error)

	conn io.ReadCloser
	in   *bufio.Reader
}

func newStream(u *url.URL, protocol string) (*stream, error) {
	s := &stream{next: dsmr.Next, take: dsmrFields}
	if protocol == "sml" {
		s.next, s.take = sml.Next, smlFields
	}
	switch {
	case u.Scheme == "tcp" && u.Port() != "":
		s.open = func(ctx context.Context) (io.ReadCloser, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", u.Host)
		}
	case u.Scheme == "serial" && u.Path != "":
		speed, err := number(u, "speed", map[string]uint{"dsmr": 115200, "sml": 9600}[protocol])
		if err != nil {
			return nil, err
		}
		s.open = func(context.Context) (io.ReadCloser, error) { return openSerial(u.Path, speed) }
	default:
		return nil, errors.New("want tcp://HOST:PORT or serial:///DEVICE?speed=…")
	}
	return s, nil
}

// read waits for the next telegram. What lies in the buffer was sent before, so of several the last counts.
func (s *stream) read(ctx context.Context) (Fields, []error, error) {
	if s.conn == nil {
		conn, err := s.open(ctx)
		if err != nil {
			return nil, nil, err
		}
		s.conn, s.in = conn, bufio.NewReaderSize(conn, 4096)
	}
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // ends the read below
	defer stop()
	raw, err := s.next(s.in)
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	at := time.Now()
	fields, err := s.take(raw)
	if err != nil {
		return nil, nil, err // the next telegram may be better
	}
	for path, f := range fields {
		f.At = at
		fields[path] = f
	}
	return fields, nil, nil
}

func (s *stream) sent(f Fields) []string { return numbers(f) }

func (s *stream) close() error {
	c := s.conn
	s.conn = nil
	if c == nil {
		return nil
	}
	return c.Close()
}

// thousand turns kilo into one.
const thousand = 3

// dsmrFields are a telegram's values, by code; flag and identification are its head's.
func dsmrFields(raw []byte) (Fields, error) {
	t, err := dsmr.Decode(raw)
	if err != nil {
		return nil, err
	}
	fields := Fields{"flag": {Text: t.Flag}, "identification": {Text: t.Identification}}
	for _, l := range t.Lines {
		code := strings.TrimSuffix(l.Code, "*255") // which means "now", and is mostly left out
		if _, known := fields[code]; known {
			continue
		}
		v := l.Values[len(l.Values)-1]
		f := Field{Text: v.Name()}
		n, ok := parseFixed(v.Text)
		switch v.Unit {
		case "kWh", "kW", "kvarh", "kvar":
			n.Exp += thousand
		}
		if ok && v.Unit != "" {
			f.Number = &n
		}
		if err := fields.put(code, f); err != nil {
			return nil, fmt.Errorf("dsmr: %w", err)
		}
	}
	return fields, nil
}

// smlFields are the values of a file's lists, by code: energy in Wh, power in W; names are text, in hexadecimal
// where they are not printable.
func smlFields(raw []byte) (Fields, error) {
	lists, err := sml.Decode(raw)
	if err != nil {
		return nil, err
	}
	return listFields(lists)
}

func listFields(lists []sml.List) (Fields, error) {
	fields := Fields{"protocol": {Text: "SML"}}
	for _, l := range lists {
		if err := fields.put("server", Field{Text: name(l.Server)}); err != nil {
			return nil, err
		}
		if len(l.Name) > 0 {
			if err := fields.put("listname", Field{Text: name(l.Name)}); err != nil {
				return nil, err
			}
		}
		for _, e := range l.Entries {
			if _, known := fields[e.Code]; known {
				continue
			}
			f := Field{Text: name(e.Text)}
			if e.Value != nil && (e.Unit == sml.UnitWh || e.Unit == sml.UnitW) {
				f.Number = &Number{Mantissa: *e.Value, Exp: e.Exp}
			}
			if err := fields.put(e.Code, f); err != nil {
				return nil, fmt.Errorf("sml: %w", err)
			}
		}
	}
	if len(lists) == 0 {
		return nil, errors.New("sml: a file without a list of values")
	}
	return fields, nil
}

// name writes bytes that name something: as they are if they can be printed, else in hexadecimal.
func name(b []byte) string {
	if strings.IndexFunc(string(b), func(c rune) bool { return c < ' ' || c > '~' }) < 0 {
		return strings.TrimSpace(string(b))
	}
	return hex.EncodeToString(b)
}
