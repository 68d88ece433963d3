package customer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// price is a micro-credit for 64 byte·epochs.
const price = 1 << 34

// door is a customer's door on a port of this machine, before eight devices.
type door struct {
	*roletest.World
	t       *testing.T
	devices []*roletest.Device
	market  *roletest.Market
	url     string
	pace    role.Pace    // of who asks
	active  atomic.Int64 // requests
	close   func()
}

// newDoor opens a door for an account that has bought that many micro-credits.
func newDoor(t *testing.T, cfg customer.Config, bought types.Credit) *door {
	return newDoorOf(t, new(door), cfg, bought)
}

// newDoorOf is newDoor for one whose pace is set.
func newDoorOf(t *testing.T, d *door, cfg customer.Config, bought types.Credit) *door {
	d.World, d.t = roletest.New(t, storage.New()), t
	d.market = d.Market("customer", bought)
	for i := range 8 {
		dev := d.Device(fmt.Sprintf("device %d", i))
		d.devices = append(d.devices, dev)
		dev.Start(provider.New(provider.Config{Listen: "127.0.0.1:0", Price: price, Egress: price, KeepFree: 1, Log: shardlog.Config{LogSize: 64 << 20}}))
	}
	d.Next()
	d.open(cfg)
	return d
}

// open starts the customer; close stops it.
func (d *door) open(cfg customer.Config) {
	d.t.Helper()
	c := customer.New(cfg)
	handler, err := c.Mount(d.market)
	if err != nil {
		d.t.Fatal(err)
	}
	server := httptest.NewServer(d.pace.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.active.Add(1)
		defer d.active.Add(-1)
		handler.ServeHTTP(w, r)
	})))
	d.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	closed := false
	d.close = func() {
		if closed {
			return
		}
		closed = true
		server.CloseClientConnections()
		server.Close()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			d.t.Error(err)
		}
	}
	d.t.Cleanup(d.close)
}

// books is where the account's books are on disk.
func (d *door) books() string {
	return filepath.Join(d.market.Dir(), d.market.Account().String()+".db")
}

// do sends a request with header fields, and returns the answer with its body.
func (d *door) do(method, path string, body io.Reader, fields ...string) (*http.Response, []byte) {
	d.t.Helper()
	req, err := http.NewRequest(method, d.url+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res, raw
}

// put stores data and returns the object.
func (d *door) put(path string, data []byte, fields ...string) (o customer.Object) {
	d.t.Helper()
	res, raw := d.do("PUT", path, bytes.NewReader(data), fields...)
	if err := json.Unmarshal(raw, &o); res.StatusCode != http.StatusCreated || err != nil || o.Bytes != uint64(len(data)) {
		d.t.Fatalf("put: %s %s", res.Status, raw)
	}
	return o
}

// list returns the account's objects.
func (d *door) list() (list []customer.Object) {
	d.t.Helper()
	res, raw := d.do("GET", "/objects", nil)
	if err := json.Unmarshal(raw, &list); res.StatusCode != http.StatusOK || err != nil {
		d.t.Fatalf("list: %s %s", res.Status, raw)
	}
	return list
}

// refused checks that an answer is a refusal with a reason and with what to do.
func (d *door) refused(res *http.Response, raw []byte, status int, reason types.Reason) {
	d.t.Helper()
	var p role.Problem
	if err := json.Unmarshal(raw, &p); err != nil || res.StatusCode != status || p.Reason != reason || p.Try == "" {
		d.t.Errorf("got %s %s, want %d with %s", res.Status, raw, status, reason)
	}
}

// TestMain puts the devices' disks into memory where there is such a file system.
func TestMain(m *testing.M) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}
