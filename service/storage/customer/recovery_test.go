package customer_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// second opens another gateway's door for an account of the same world.
func (d *door) second(m *roletest.Market) *door {
	d.t.Helper()
	other := &door{World: d.World, t: d.t, devices: d.devices, market: m}
	c := customer.New(customer.Config{})
	handler, err := c.Mount(m)
	if err != nil {
		d.t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	other.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	d.t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			d.t.Error(err)
		}
	})
	return other
}

// TestRecovery: what an account stored through one gateway it reads through another, with the record that it
// took along; nobody else does.
func TestRecovery(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1_000_000_000)
	again := d.Also("other gateway", d.market, 1_000_000_000)
	stranger := d.Market("stranger", 1_000_000_000)
	d.Next()
	other, strange := d.second(again), d.second(stranger)
	data := bytes.Repeat([]byte("what is kept elsewhere. "), 50_000)
	o := d.put("/objects?name=kept.txt", data, "Content-Type", "text/plain")
	path := "/objects/" + o.ID
	res, record := d.do("GET", path+"/recovery", nil)
	if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %s", res.Status, record)
	}
	if bytes.Contains(record, data[:24]) {
		t.Error("the record holds what is stored")
	}
	res, raw := other.do("GET", path, nil)
	other.refused(res, raw, http.StatusNotFound, storage.NoObject)
	for what, spoiled := range map[string][]byte{"cut": record[:len(record)-1], "none": nil, "text": []byte("record")} {
		res, raw = other.do("PUT", path+"/recovery", bytes.NewReader(spoiled))
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", what, res.Status, raw)
		}
	}
	res, raw = other.do("PUT", "/objects/00000000000000000000000000000000/recovery", bytes.NewReader(record))
	other.refused(res, raw, http.StatusBadRequest, role.BadRequest)
	res, raw = strange.do("PUT", path+"/recovery", bytes.NewReader(record))
	strange.refused(res, raw, http.StatusBadRequest, role.BadRequest)
	for range 2 { // twice is once
		if res, raw = other.do("PUT", path+"/recovery", bytes.NewReader(record)); res.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", res.Status, raw)
		}
	}
	read := func(from *door, what string) {
		t.Helper()
		res, raw := from.do("GET", path, nil)
		if res.StatusCode != http.StatusOK || !bytes.Equal(raw, data) || res.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %s, %d bytes", what, res.Status, len(raw))
		}
	}
	read(other, "through the other gateway")
	if res, raw = other.do("GET", path, nil, "Range", "bytes=24-47"); !bytes.Equal(raw, data[24:48]) {
		t.Errorf("a part: %s %s", res.Status, raw)
	}
	d.close()
	d.Next()
	read(other, "while the first is away")
	d.Next()
	read(other, "and an epoch later")

	// What is passed on once more is read as well. Forgetting it at the other gateway lets nothing go.
	if res, next := other.do("GET", path+"/recovery", nil); res.StatusCode != http.StatusOK || bytes.Equal(next, record) {
		t.Errorf("passed on: %s", res.Status)
	}
	if res, raw = other.do("DELETE", path, nil); res.StatusCode != http.StatusOK {
		t.Errorf("%s %s", res.Status, raw)
	}
	res, raw = other.do("GET", path, nil)
	other.refused(res, raw, http.StatusNotFound, storage.NoObject)
	d.open(customer.Config{})
	read(d, "where it is stored")
	if got := d.list(); len(got) != 1 || got[0].Shards != o.Shards {
		t.Errorf("%+v", got)
	}
}
