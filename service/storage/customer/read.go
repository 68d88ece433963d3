package customer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// Reading follows RFC 9110: what a request makes a condition, and which ranges it wants, is answered from the
// books. Devices are asked, and paid, for bytes that are sent: a HEAD, a 304, a 412 or a 416 cost nothing.

// serveGet answers a GET or a HEAD. When shards turn out to be lost after the first byte was sent, the answer
// ends early: who then asks for the rest is told why.
func (c *Customer) serveGet(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	a, id, o, err := c.find(wallet, r.PathValue("id"))
	if err != nil {
		return err
	}
	h := w.Header()
	describe(h, id, o)
	ranges := cleanRanges(r.Method, r.Header.Get("Range"), int64(o.Bytes))
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	if len(ranges) > 0 {
		r.Header.Set("Range", rangeHeader(ranges))
	}
	body := &content{ctx: r.Context(), a: a, id: id, o: o, ranges: ranges, begin: func() (func(), error) { return c.begin(wallet) }}
	defer body.done()
	out := &late{w: w}
	http.ServeContent(out, r, "", time.Unix(int64(o.Created), 0).UTC(), body)
	switch {
	case out.status == http.StatusRequestedRangeNotSatisfiable:
		err = types.Refuse(storage.BadRange, "none of the ranges %.80q lies in an object of %d bytes", r.Header.Get("Range"), o.Bytes)
	case out.status == http.StatusPreconditionFailed:
		err = types.Refuse(role.Precondition, "object %v", id)
	case body.err == nil:
		out.begin()
		return nil
	case out.begun:
		a.log.Warn("storage: get", "object", id, "err", body.err)
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole
	default:
		err = body.err
	}
	for _, name := range []string{"Content-Disposition", "Content-Length", "Content-Security-Policy", "ETag", "Last-Modified", "Accept-Ranges"} {
		h.Del(name)
	}
	if out.status != http.StatusRequestedRangeNotSatisfiable {
		h.Del("Content-Range")
	}
	return err
}

// describe sets what is known of an object. Its bytes are the customer's, at the address of a page: a browser
// must not take them for a part of it.
func describe(h http.Header, id ObjectID, o *object) {
	h.Set("Content-Type", "application/octet-stream")
	if o.Type != "" {
		h.Set("Content-Type", o.Type)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("ETag", tag(id))
	disposition := "attachment"
	if o.Name != "" {
		disposition = mime.FormatMediaType(disposition, map[string]string{"filename": o.Name})
	}
	h.Set("Content-Disposition", disposition)
}

// tag is an object's strong validator: what is stored under an id never changes.
func tag(id ObjectID) string { return `"` + id.String() + `"` }

// allowed reports whether what a request to change an object makes a condition holds (RFC 9110 §13.2.2).
func allowed(r *http.Request, id ObjectID, o *object) bool {
	probe := &late{w: &nobody{http.Header{}}}
	probe.Header().Set("ETag", tag(id))
	probe.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(probe, r, "", time.Unix(int64(o.Created), 0).UTC(), strings.NewReader(""))
	return probe.status != http.StatusPreconditionFailed
}

// nobody reads what is written to it.
type nobody struct{ header http.Header }

func (n *nobody) Header() http.Header         { return n.header }
func (n *nobody) WriteHeader(int)             {}
func (n *nobody) Write(b []byte) (int, error) { return len(b), nil }

// late sends the status with the first byte, so that an error before it still has a status of its own. What
// refuses it does not send.
type late struct {
	w      http.ResponseWriter
	status int
	begun  bool
}

func (l *late) Header() http.Header { return l.w.Header() }

func (l *late) WriteHeader(status int) { l.status = status }

func (l *late) begin() {
	if !l.begun {
		l.begun = true
		l.w.WriteHeader(l.status)
	}
}

func (l *late) Write(b []byte) (int, error) {
	if l.status >= http.StatusBadRequest {
		return len(b), nil
	}
	l.begin()
	return l.w.Write(b)
}

// span is a range of bytes.
type span struct{ start, length int64 }

// maxRanges bounds how many ranges one request gets: each costs a read of its own.
const maxRanges = 64

// cleanRanges reads a Range header (RFC 9110 §14.2) and returns the parts of size bytes that it asks for, in
// its order; nil stands for the whole: for another method, another unit, or what cannot be read. Where no part
// of it is there, or where it has too many, it returns one that lies behind the end.
func cleanRanges(method, header string, size int64) (ranges []span) {
	unit, set, ok := strings.Cut(header, "=")
	if method != http.MethodGet || !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return nil
	}
	given := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue // empty elements of a list mean nothing
		}
		given++
		from, to, ok := strings.Cut(spec, "-")
		start, end := int64(0), size-1
		switch {
		case !ok || from == "" && to == "" || !digits(from) || !digits(to):
			return nil
		case from == "": // the last bytes
			start = size - min(size, number(to))
		case to == "":
			start = number(from)
		default:
			if start, end = number(from), number(to); end < start {
				return nil
			}
		}
		if end = min(end, size-1); start <= end {
			ranges = append(ranges, span{start, end - start + 1})
		}
	}
	switch {
	case given == 0:
		return nil
	case len(ranges) == 0 || given > maxRanges:
		return []span{{size, 1}}
	}
	return ranges
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// number reads digits; what is beyond any object is as good as the highest.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 1<<63 - 1
	}
	return n
}

func rangeHeader(ranges []span) string {
	text := make([]string, len(ranges))
	for i, r := range ranges {
		text[i] = fmt.Sprintf("%d-%d", r.start, r.start+r.length-1)
	}
	return "bytes=" + strings.Join(text, ",")
}

// content is an object as http.ServeContent reads it: nothing is asked of a device before the first Read, and
// then no more than the range that begins there.
type content struct {
	ctx    context.Context
	a      *account
	id     ObjectID
	o      *object
	ranges []span

	at   int64
	open io.ReadCloser // from at on; nil for none
	err  error         // why it could not be read

	begin func() (end func(), err error) // before the first Read that needs devices
	end   func()
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += int64(c.o.Bytes)
	}
	if offset < 0 || offset > int64(c.o.Bytes) {
		return 0, fmt.Errorf("storage: seek to %d of %d", offset, c.o.Bytes)
	}
	if offset != c.at {
		c.close()
		c.at = offset
	}
	return offset, nil
}

func (c *content) Read(p []byte) (n int, err error) {
	for n == 0 && err == nil {
		if c.at == int64(c.o.Bytes) {
			return 0, io.EOF
		}
		if c.open == nil {
			length := int64(c.o.Bytes) - c.at
			if i := slices.IndexFunc(c.ranges, func(s span) bool { return s.start == c.at }); i >= 0 {
				length = c.ranges[i].length
			}
			if c.end == nil {
				if c.end, c.err = c.begin(); c.err != nil {
					return 0, c.err
				}
			}
			if c.open, c.err = c.a.read(c.ctx, c.id, c.o, c.at, length); c.err != nil {
				return 0, c.err
			}
		}
		n, err = c.open.Read(p)
		c.at += int64(n)
		if err == io.EOF {
			c.close()
			err = nil // the range is at its end; whoever reads on reads the next
		}
	}
	c.err = err
	return n, err
}

// done ends what was begun.
func (c *content) done() {
	c.close()
	if c.end != nil {
		c.end()
	}
}

func (c *content) close() {
	if c.open != nil {
		c.open.Close()
		c.open = nil
	}
}
