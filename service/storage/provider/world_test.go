package provider_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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
	t       *testing.T
	devices []*roletest.Device
	market  *roletest.Market
	http    http.Handler
}

func config() provider.Config {
	return provider.Config{Listen: "127.0.0.1:0", Price: price, Egress: price, KeepFree: 1, Log: shardlog.Config{LogSize: 64 << 20}}
}

func newNet(t *testing.T, devices int) *net {
	n := &net{World: roletest.New(t, storage.New()), t: t}
	n.market = n.Market("customer", 1<<50)
	for i := range devices {
		d := n.Device(fmt.Sprintf("device %d", i))
		n.devices = append(n.devices, d)
		d.Start(provider.New(config()))
	}
	c := customer.New(customer.Config{})
	var err error
	if n.http, err = c.Mount(n.market); err != nil {
		t.Fatal(err)
	}
	return n
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

// clean fails if anything was refused.
func (n *net) clean() {
	n.t.Helper()
	for _, r := range n.Refused() {
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
