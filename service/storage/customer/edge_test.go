package customer_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// TestRangeEdges: the least and the most that a Range may ask for.
func TestRangeEdges(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	data := []byte("0123456789")
	o := d.put("/objects?name="+strings.Repeat("n", 10), data)
	many := func(n int) string { return "bytes=0-0" + strings.Repeat(",0-0", n-1) }
	for ranges, want := range map[string]string{
		"bytes=5-5": "5", "bytes=9-": "9", "bytes=-1": "9", "bytes=0-b": string(data), "bytes=b-1": string(data), "bytes=5": string(data), "bytes=0-,5": string(data),
	} {
		status := http.StatusPartialContent
		if want == string(data) {
			status = http.StatusOK
		}
		if res, raw := d.do("GET", "/objects/"+o.ID, nil, "Range", ranges); res.StatusCode != status || string(raw) != want {
			t.Errorf("%s: %s %q", ranges, res.Status, raw)
		}
	}
	long := d.put("/objects", bytes.Repeat(data, 100))
	if res, _ := d.do("GET", "/objects/"+long.ID, nil, "Range", many(64)); res.StatusCode != http.StatusPartialContent {
		t.Errorf("64 ranges: %s", res.Status)
	}
	res, raw := d.do("GET", "/objects/"+long.ID, nil, "Range", many(65))
	d.refused(res, raw, http.StatusRequestedRangeNotSatisfiable, storage.BadRange)
	// What is the customer's is no part of a page.
	res, _ = d.do("HEAD", "/objects/"+o.ID, nil)
	if h := res.Header; h.Get("Content-Security-Policy") != "sandbox" || h.Get("Content-Disposition") != "attachment; filename="+o.Name {
		t.Errorf("%v", h)
	}
	// A content type that is too long is none.
	o = d.put("/objects", data, "Content-Type", "text/plain; x="+strings.Repeat("a", 300))
	if res, _ := d.do("HEAD", "/objects/"+o.ID, nil); res.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%v", res.Header)
	}
	res, raw = d.do("GET", fmt.Sprintf("/price?bytes=%d", uint64(1)<<48), nil)
	d.refused(res, raw, http.StatusBadRequest, role.BadRequest)
	if res, raw = d.do("GET", fmt.Sprintf("/price?bytes=%d", uint64(1)<<48-1), nil); res.StatusCode != http.StatusOK {
		t.Errorf("%s %s", res.Status, raw)
	}
	// An answer that turns out to be none says nothing of an object.
	for _, dev := range d.devices {
		dev.Stop()
	}
	res, raw = d.do("GET", "/objects/"+long.ID, nil, "Range", "bytes=0-9")
	d.refused(res, raw, http.StatusServiceUnavailable, storage.ShardsLost)
	for _, name := range []string{"Content-Range", "ETag", "Content-Disposition", "Last-Modified", "Accept-Ranges", "Content-Security-Policy"} {
		if v := res.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
}

// TestTransfers: while as many transfers run as may, another has to wait, and what needs no device has not. One
// that ended makes room, however many ranges it had.
func TestTransfers(t *testing.T) {
	d := newDoor(t, customer.Config{Transfers: 1}, 1<<50)
	data := bytes.Repeat([]byte("0123456789"), 20<<10)
	o := d.put("/objects", data)
	for range 3 {
		if res, raw := d.do("GET", "/objects/"+o.ID, nil, "Range", "bytes=0-9,100000-100009,-5"); res.StatusCode != http.StatusPartialContent {
			t.Fatalf("%s %s", res.Status, raw)
		}
	}
	body, sender := io.Pipe()
	done := make(chan error, 1)
	go func() {
		// The body is sent once the server reads it: from then on this transfer runs, and none of those below
		// was before it.
		req, _ := http.NewRequest("PUT", d.url+"/objects", body)
		req.Header.Set("Expect", "100-continue")
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
		defer client.CloseIdleConnections()
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	sender.Write(data)
	res, raw := d.do("GET", "/objects/"+o.ID, nil)
	d.refused(res, raw, role.Info(role.Busy).Status, role.Busy)
	if res, _ := d.do("HEAD", "/objects/"+o.ID, nil); res.StatusCode != http.StatusOK {
		t.Errorf("what needs no device waits: %s", res.Status)
	}
	sender.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if res, raw := d.do("GET", "/objects/"+o.ID, nil); res.StatusCode != http.StatusOK || !bytes.Equal(raw, data) {
		t.Errorf("%s", res.Status)
	}
}
