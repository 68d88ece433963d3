package provider_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// price is a micro-credit for 64 byte·epochs, so that small files cost something.
const price = 1 << 34

// net is one customer and eight devices.
type net struct {
	*roletest.World
	t        testing.TB
	devices  []*roletest.Device
	market   *roletest.Market
	customer *customer.Customer
	http     http.Handler
}

func config() provider.Config {
	return provider.Config{Listen: "127.0.0.1:0", Price: price, Egress: price, KeepFree: 1, Log: shardlog.Config{LogSize: 64 << 20}}
}

func newNet(t testing.TB, devices int) *net { return newNetOf(t, devices, customer.Config{}) }

// newNetOf is newNet with a customer of that configuration.
func newNetOf(t testing.TB, devices int, cfg customer.Config) *net {
	n := &net{World: roletest.New(t, storage.New()), t: t}
	n.market = n.Market("customer", 1<<50)
	for i := range devices {
		d := n.Device(fmt.Sprintf("device %d", i))
		n.devices = append(n.devices, d)
		d.Start(provider.New(config()))
	}
	n.customer = customer.New(cfg)
	var err error
	if n.http, err = n.customer.Mount(n.market); err != nil {
		t.Fatal(err)
	}
	return n
}

// tend lets the customer look after its holdings until the test ends.
func (n *net) tend() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.customer.Run(ctx); err != nil {
			n.t.Error(err)
		}
	}()
	n.t.Cleanup(func() { cancel(); <-done })
}

// do sends a request to the customer's door.
func (n *net) do(method, path string, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if r := recover(); r != nil && r != http.ErrAbortHandler {
				panic(r)
			}
		}()
		n.http.ServeHTTP(w, httptest.NewRequest(method, path, body))
	}()
	return w
}

// put stores data and returns the object's id.
func (n *net) put(data []byte) string {
	n.t.Helper()
	w := n.do("PUT", "/objects?name=test", bytes.NewReader(data))
	var o customer.Object
	if err := json.Unmarshal(w.Body.Bytes(), &o); w.Code != http.StatusCreated || err != nil {
		n.t.Fatalf("put: %d %s", w.Code, w.Body)
	}
	return o.ID
}

// get reads an object and compares it.
func (n *net) get(id string, want []byte) {
	n.t.Helper()
	w := n.do("GET", "/objects/"+id, nil)
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), want) {
		n.t.Fatalf("get: %d, %d bytes, want %d: %.300s", w.Code, w.Body.Len(), len(want), w.Header())
	}
}

// state is a device's line in the last tally.
func (n *net) state(i int) *storage.State {
	n.t.Helper()
	s, err := storage.DecodeState(n.State().CategoryLine(n.devices[i].Key(), types.Storage))
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// clean fails if anything was refused, but for some reasons.
func (n *net) clean(but ...types.Reason) {
	n.t.Helper()
	for _, r := range n.Refused() {
		if slices.Contains(but, r.Reason) {
			continue
		}
		n.t.Errorf("epoch %d: %v: item of type %d refused with %s", r.Epoch, r.Device, r.Type, r.Reason)
	}
}

func random(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// paid is what the tally has honoured of a device's receipts.
func (n *net) paid(i int) types.Credit {
	if line := n.State().Line(n.devices[i].Key()); line != nil {
		return line.Paid()
	}
	return 0
}

// restart stops a device's provider and starts another on the same disk.
func (n *net) restart(i int) {
	n.t.Helper()
	if err := n.devices[i].Stop(); err != nil {
		n.t.Fatal(err)
	}
	n.devices[i].Start(provider.New(config()))
}

// used is how many bytes of shards are on a device's disk. It stops the device for a moment.
func (n *net) used(i int) uint64 {
	n.t.Helper()
	n.devices[i].Stop()
	defer n.devices[i].Start(provider.New(config()))
	s, err := shardlog.Open(shardlog.Config{Dir: filepath.Join(n.devices[i].Dir(), "shards")}, slog.New(slog.DiscardHandler))
	if err != nil {
		n.t.Fatal(err)
	}
	defer s.Close()
	return s.Stats().Used
}

// damage removes the first shards from the disk of a device that does not run.
func (n *net) damage(i, count int) {
	n.t.Helper()
	s, err := shardlog.Open(shardlog.Config{Dir: filepath.Join(n.devices[i].Dir(), "shards")}, slog.New(slog.DiscardHandler))
	if err != nil {
		n.t.Fatal(err)
	}
	defer s.Close()
	var keys []shardlog.Key
	s.Each(n.t.Context(), func(k shardlog.Key, _ shardlog.Info) error {
		keys = append(keys, k)
		return nil
	})
	for _, k := range keys[:count] {
		if err := s.Delete(k); err != nil {
			n.t.Fatal(err)
		}
	}
}

// TestMain puts the devices' disks into memory where there is such a file system: nothing here survives the
// machine anyway, and epochs pass a hundred times faster.
func TestMain(m *testing.M) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}
