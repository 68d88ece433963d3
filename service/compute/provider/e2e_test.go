package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/customer"
	"github.com/cairn-network/cairn/service/role"
)

// TestGateway: the gateway that customers use and a device that runs real guests: a job's output, files, result and
// pay, with the device killed in the middle of the second one.
func TestGateway(t *testing.T) {
	w := newWasmWorld(t, nil)
	market := w.Market("buyer", 1<<40)
	w.device.Payer(t.Context(), market.Payer())
	c := customer.New(customer.Config{})
	door, err := c.Mount(market)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Listen(role.Place{IP: "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	do := func(method, path string, body []byte, want int, out any) []byte {
		t.Helper()
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		rec := httptest.NewRecorder()
		door.ServeHTTP(rec, r)
		raw, err := io.ReadAll(rec.Body)
		if err != nil || rec.Code != want {
			t.Fatalf("%s %s: %d %s", method, path, rec.Code, raw)
		}
		if out != nil {
			if err := json.Unmarshal(raw, out); err != nil {
				t.Fatalf("%s %s: %v: %s", method, path, err, raw)
			}
		}
		return raw
	}
	submit := func(module []byte) string {
		t.Helper()
		var job struct{ ID string }
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // until it has heard what is free
			w.Tell() // a node beats by itself
			r := httptest.NewRequest("POST", "/jobs?arg=program&price=1000", bytes.NewReader(module))
			r.Header.Set("Content-Type", "application/wasm")
			rec := httptest.NewRecorder()
			door.ServeHTTP(rec, r)
			if rec.Code < 300 {
				if err := json.Unmarshal(rec.Body.Bytes(), &job); err != nil {
					t.Fatal(err)
				}
				return job.ID
			}
			if rec.Code != http.StatusServiceUnavailable || time.Now().After(end) {
				t.Fatalf("submit: %d %s", rec.Code, rec.Body)
			}
		}
	}
	result := func(id string) {
		t.Helper()
		var out struct{ State string }
		if raw := do("GET", "/jobs/"+id+"/result?wait=1", nil, http.StatusOK, &out); out.State != "done" {
			t.Errorf("%s", raw)
		}
	}
	id := submit(program(100_000_000))
	result(id)
	if got := do("GET", "/jobs/"+id+"/logs", nil, http.StatusOK, nil); string(got) != "hi\n" {
		t.Errorf("%q", got)
	}
	id = submit(leaver())
	result(id)
	if got := do("GET", "/jobs/"+id+"/files/a", nil, http.StatusOK, nil); string(got) != "hi\n" {
		t.Errorf("%q", got)
	}
	w.settled()
	id = submit(program(400_000_000))
	for end := time.Now().Add(20 * time.Second); len(do("GET", "/jobs/"+id+"/logs", nil, http.StatusOK, nil)) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not begin")
		}
	}
	if err := w.device.Stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
	result(id)
	if got := do("GET", "/jobs/"+id+"/logs", nil, http.StatusOK, nil); string(got) != "hi\n" {
		t.Errorf("%q", got)
	}
	w.settled()
	for range 4 {
		w.Next()
	}
	w.clean(types.Superseded)
	if got, want := w.tallied(), types.Credit((100_000_000+400_000_000)*7/1_000_000); got < want || got > want+1 {
		t.Errorf("the tally has %d, want %d", got, want)
	}
}
