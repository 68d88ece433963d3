package customer_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// TestConditions: what a request makes a condition is answered from the books, while no device runs. Nothing is
// fetched and nothing paid.
func TestConditions(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	data := bytes.Repeat([]byte("0123456789"), 100)
	o := d.put("/objects?name=h", data, "Content-Type", "text/plain")
	for _, dev := range d.devices {
		dev.Stop()
	}
	path, tag, other := "/objects/"+o.ID, `"`+o.ID+`"`, `"`+strings.Repeat("0", 32)+`"`
	made := o.Created.Format(http.TimeFormat)
	before, after := o.Created.Add(-time.Hour).Format(http.TimeFormat), o.Created.Add(time.Hour).Format(http.TimeFormat)
	for _, c := range []struct {
		method string
		fields []string
		status int
		reason types.Reason
	}{
		{"HEAD", nil, 200, ""},
		{"HEAD", []string{"If-None-Match", tag}, 304, ""},
		{"HEAD", []string{"Range", "bytes=0-9"}, 200, ""}, // only GET has ranges
		{"HEAD", []string{"If-Match", other}, 412, ""},
		{"GET", []string{"If-None-Match", tag}, 304, ""},
		{"GET", []string{"If-None-Match", "W/" + tag}, 304, ""}, // compared weakly
		{"GET", []string{"If-None-Match", other + ", " + tag}, 304, ""},
		{"GET", []string{"If-None-Match", "*"}, 304, ""},
		{"GET", []string{"If-None-Match", tag, "Range", "bytes=0-9"}, 304, ""},
		{"GET", []string{"If-None-Match", tag, "Range", "bytes=5000-"}, 304, ""},
		{"GET", []string{"If-Modified-Since", made}, 304, ""},
		{"GET", []string{"If-Modified-Since", after}, 304, ""},
		{"GET", []string{"If-Match", other}, 412, role.Precondition},
		{"GET", []string{"If-Match", "W/" + tag}, 412, role.Precondition}, // compared strongly
		{"GET", []string{"If-Match", other, "Range", "bytes=5000-"}, 412, role.Precondition},
		{"GET", []string{"If-Unmodified-Since", before}, 412, role.Precondition},
		{"GET", []string{"Range", "bytes=1000-"}, 416, storage.BadRange},
		{"GET", []string{"Range", "bytes=-0"}, 416, storage.BadRange},
		{"GET", []string{"Range", "bytes=99999999999999999999-"}, 416, storage.BadRange},
		{"GET", []string{"Range", "bytes=1000-1001,2000-"}, 416, storage.BadRange},
		{"GET", []string{"Range", "bytes=0-0" + strings.Repeat(",0-0", 64)}, 416, storage.BadRange},
		{"DELETE", []string{"If-Match", other}, 412, role.Precondition},
		{"DELETE", []string{"If-None-Match", tag}, 412, role.Precondition},
		{"DELETE", []string{"If-Unmodified-Since", before}, 412, role.Precondition},
	} {
		res, raw := d.do(c.method, path, nil, c.fields...)
		name := fmt.Sprintf("%s %v", c.method, c.fields)
		if res.StatusCode != c.status {
			t.Errorf("%s: %s %.200s", name, res.Status, raw)
			continue
		}
		if c.reason != "" {
			d.refused(res, raw, c.status, c.reason)
		} else if len(raw) > 0 {
			t.Errorf("%s: %d bytes", name, len(raw))
		}
		h := res.Header
		if (c.status == 200 || c.status == 304) && h.Get("ETag") != tag {
			t.Errorf("%s: %v", name, h)
		}
		if c.status == 200 && (res.ContentLength != 1000 || h.Get("Last-Modified") != made || h.Get("Accept-Ranges") != "bytes" || h.Get("Content-Type") != "text/plain") {
			t.Errorf("%s: %v", name, h)
		}
		if got := h.Get("Content-Range"); (got == "bytes */1000") != (c.status == 416) {
			t.Errorf("%s: Content-Range %q", name, got)
		}
	}
	if n := d.market.Receipts(); n != 0 {
		t.Errorf("%d receipts were signed", n)
	}
	if len(d.list()) != 1 {
		t.Error("it was deleted")
	}
}

// TestRanges: one part, several, those that are not there, and conditions on them.
func TestRanges(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	data := bytes.Repeat([]byte("0123456789"), 20<<10)
	size := len(data)
	o := d.put("/objects?name=h", data)
	path, tag := "/objects/"+o.ID, `"`+o.ID+`"`
	made := o.Created.Format(http.TimeFormat)
	for _, c := range []struct {
		ranges, ifRange string
		status          int
		from, to        int
	}{
		{"bytes=0-9", "", 206, 0, 10},
		{"Bytes=5-", "", 206, 5, size},
		{"bytes=-7", "", 206, size - 7, size},
		{"bytes=-99999999", "", 206, 0, size},
		{"bytes=70000-140000", "", 206, 70000, 140001},
		{"bytes=100-99999999999999999999", "", 206, 100, size},
		{"bytes= 1-2 ,", "", 206, 1, 3},
		{"bytes=1-2,99999999-", "", 206, 1, 3},
		{"bytes=0-9", tag, 206, 0, 10},
		{"bytes=0-9", made, 206, 0, 10},
		{"bytes=0-9", `"other"`, 200, 0, size},
		{"bytes=5000000-", `"other"`, 200, 0, size},
		{"bytes=0-9", "W/" + tag, 200, 0, size},
		{"bytes=0-9", o.Created.Add(-time.Second).Format(http.TimeFormat), 200, 0, size},
		{"lines=0-9", "", 200, 0, size}, // MUST be ignored
		{"bytes=9-0", "", 200, 0, size},
		{"bytes=a-b", "", 200, 0, size},
		{"bytes=+1-2", "", 200, 0, size},
		{"bytes=", "", 200, 0, size},
		{"bytes", "", 200, 0, size},
		{"bytes=-", "", 200, 0, size},
		{"bytes=0-,0-", "", 200, 0, size}, // more than the whole
	} {
		fields := []string{"Range", c.ranges}
		if c.ifRange != "" {
			fields = append(fields, "If-Range", c.ifRange)
		}
		res, raw := d.do("GET", path, nil, fields...)
		want := ""
		if c.status == 206 {
			want = fmt.Sprintf("bytes %d-%d/%d", c.from, c.to-1, size)
		}
		if res.StatusCode != c.status || !bytes.Equal(raw, data[c.from:c.to]) || res.Header.Get("Content-Range") != want || int(res.ContentLength) != c.to-c.from {
			t.Errorf("%v: %s, %d bytes, %v", fields, res.Status, len(raw), res.Header)
		}
	}
	res, raw := d.do("GET", path, nil, "Range", "bytes=3-5,99999999-,-2,100000-100009")
	kind, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode != 206 || err != nil || kind != "multipart/byteranges" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	parts := multipart.NewReader(bytes.NewReader(raw), params["boundary"])
	for _, want := range [][2]int{{3, 6}, {size - 2, size}, {100000, 100010}} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if at := fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, size); err != nil || !bytes.Equal(got, data[want[0]:want[1]]) || p.Header.Get("Content-Range") != at {
			t.Errorf("%v: %q, %v, %v", want, got, p.Header, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Error(err)
	}
	empty := d.put("/objects", nil)
	if res, raw := d.do("GET", "/objects/"+empty.ID, nil); res.StatusCode != 200 || len(raw) != 0 {
		t.Errorf("%s %q", res.Status, raw)
	}
	if res, _ := d.do("DELETE", path, nil, "If-Match", tag); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}
