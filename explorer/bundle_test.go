package explorer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// stuck is Tallies whose bundle writes one piece and then waits to be told how it ends.
type stuck struct {
	digests
	begun chan struct{}
	end   chan error
}

func (s stuck) Bundle(_ context.Context, _ types.Epoch, _ types.Region, w io.Writer) error {
	w.Write([]byte("a piece"))
	s.begun <- struct{}{}
	return <-s.end
}

// One address asks for as many bundles as it can and reads none of them: it is told to wait, and others are
// served. A bundle that breaks off does not end like a whole one.
func TestBundles(t *testing.T) {
	c, d := world()
	s := stuck{d, make(chan struct{}), make(chan error)}
	x := newExplorer(t, "", c, s)
	catchUp(t, x)
	server := httptest.NewServer(x.Handler())
	defer server.Close()
	ends := make(chan error)
	for range maxBundlesEach {
		go func() {
			res, err := http.Get(server.URL + "/api/tallies/2/0/bundle")
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			ends <- err
		}()
		<-s.begun
	}
	res, err := http.Get(server.URL + "/api/tallies/2/0/bundle")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != role.Info(role.Busy).Status || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many of an address: %s", res.Status)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.7:1"
	leave, ok := x.readers.enter(r)
	if !ok {
		t.Fatal("another address has no place")
	}
	leave()
	s.end <- errors.New("pruned meanwhile")
	if err := <-ends; err == nil {
		t.Error("a bundle that broke off looks whole")
	}
	for range maxBundlesEach - 1 {
		s.end <- nil
		if err := <-ends; err != nil {
			t.Errorf("a whole bundle: %v", err)
		}
	}
	if x.readers.all != 0 || len(x.readers.by) != 0 {
		t.Errorf("places are left taken: %+v", x.readers.by)
	}
	for i := range maxBundles {
		r.RemoteAddr = string(rune('a'+i)) + ":1"
		x.readers.enter(r)
	}
	r.RemoteAddr = "192.0.2.8:1"
	if _, ok := x.readers.enter(r); ok {
		t.Error("more bundles at once than there are places")
	}
}
