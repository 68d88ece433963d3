//go:build soak

package provider_test

import (
	"crypto/sha256"
	"encoding/json"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/storage/customer"
)

// sink is a response that keeps nothing but a hash.
type sink struct {
	header http.Header
	code   int
	hash   hash.Hash
	bytes  int64
}

func (s *sink) Header() http.Header  { return s.header }
func (s *sink) WriteHeader(code int) { s.code = code }
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += int64(len(b))
	return s.hash.Write(b)
}

// TestLarge stores a file of 1 GiB and reads it back, with four of eight devices gone half-way. Gateway and
// devices, in one process, keep within what the gateway alone may have.
func TestLarge(t *testing.T) {
	const size, most = 1 << 30, 300 << 20
	n := newNet(t, 8)
	n.Next()
	var peak atomic.Uint64
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapInuse+m.StackInuse))
			}
		}
	}()
	sum := sha256.New()
	in := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sum)
	start := time.Now()
	w := n.do("PUT", "/objects?name=large", in)
	var o customer.Object
	if err := json.Unmarshal(w.Body.Bytes(), &o); w.Code != http.StatusCreated || err != nil {
		t.Fatalf("put: %d %s", w.Code, w.Body)
	}
	put := time.Since(start)
	start = time.Now()
	time.AfterFunc(put/4, func() {
		for i := range 4 {
			n.devices[2*i].Stop()
		}
	})
	out := &sink{header: http.Header{}, code: http.StatusOK, hash: sha256.New()}
	n.http.ServeHTTP(out, httptest.NewRequest("GET", "/objects/"+o.ID, nil))
	if out.code != http.StatusOK || out.bytes != size || string(out.hash.Sum(nil)) != string(sum.Sum(nil)) {
		t.Fatalf("get: %d, %d bytes", out.code, out.bytes)
	}
	mib := func(t time.Duration) float64 { return size / (1 << 20) / t.Seconds() }
	t.Logf("put %.0f MiB/s, get %.0f MiB/s, at most %d MiB of memory", mib(put), mib(time.Since(start)), peak.Load()>>20)
	if got := peak.Load(); got > most {
		t.Errorf("%d bytes of memory, want at most %d", got, most)
	}
}
