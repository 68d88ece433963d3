package explorer

import (
	"net"
	"net/http"
	"sync"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// maxBundles is how many bundles are sent at once, maxBundlesEach how many of them to one address. Each
	// takes a piece of memory and a file; readers that stall are the server's to let go (role.Pace).
	maxBundles     = 64
	maxBundlesEach = 4
)

// readers counts who is sent a bundle, by address.
type readers struct {
	mu  sync.Mutex
	all int
	by  map[string]int
}

// enter takes a place, and reports whether there was one. leave gives it back.
func (s *readers) enter(r *http.Request) (leave func(), ok bool) {
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxBundles || s.by[from] >= maxBundlesEach {
		return nil, false
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.all++
	s.by[from]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.by[from]--; s.by[from] == 0 {
			delete(s.by, from)
		}
	}, true
}

// begun is an answer that knows whether any of it was written.
type begun struct {
	http.ResponseWriter
	written bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.written = true
	return b.ResponseWriter.Write(p)
}

// bundle streams all that a tally was made from.
func (x *Explorer) bundle(w http.ResponseWriter, r *http.Request) {
	leave, ok := x.readers.enter(r)
	if !ok {
		w.Header().Set("Retry-After", "10")
		x.fail(w, types.Refuse(role.Busy, "explorer: as many bundles are being sent as this server, or one address, may have"))
		return
	}
	defer leave()
	page, err := x.tally(r)
	out := &begun{ResponseWriter: w}
	if err == nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		err = x.tallies.Bundle(r.Context(), page.Tally.Epoch, page.Tally.Region, out)
	}
	switch {
	case err == nil:
	case out.written: // the reader has to see that it is not whole
		x.log.Info("explorer: a bundle was cut short", "err", err)
		panic(http.ErrAbortHandler)
	default:
		x.fail(w, err)
	}
}
