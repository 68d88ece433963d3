package customer_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// TestContentTypes: whatever a client says of the bytes that it sends, these bytes are stored, and what it said
// comes back with them.
func TestContentTypes(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	data := []byte("a=1&b=%zz\nname=other&profile=none\x00\xff")
	for given, want := range map[string]string{
		"application/x-www-form-urlencoded": "application/x-www-form-urlencoded", // curl's, for --data and its like
		"multipart/form-data; boundary=x":   "multipart/form-data; boundary=x",
		"multipart/form-data":               "multipart/form-data",
		"text/html; charset=utf-8":          "text/html; charset=utf-8",
		"application/json":                  "application/json",
		"no type":                           "application/octet-stream",
		"":                                  "application/octet-stream",
	} {
		o := d.put("/objects?name=h", data, "Content-Type", given)
		res, back := d.do("GET", "/objects/"+o.ID, nil)
		if !bytes.Equal(back, data) || o.Name != "h" || o.Profile != "lab" {
			t.Errorf("stored as %q: %q comes back of %+v", given, back, o)
		}
		h := res.Header
		if h.Get("Content-Type") != want || h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
			t.Errorf("stored as %q: %v", given, h)
		}
	}
}

// TestCurl: what people type.
func TestCurl(t *testing.T) {
	curl := testutil.Program(t, "curl")
	d := newDoor(t, customer.Config{}, 1<<50)
	data := bytes.Repeat([]byte("0123456789abcde\n"), 20<<10)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(curl, append([]string{"-sS", "-w", "\n%{http_code}"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	at := d.url + "/objects?name=h"
	for _, args := range [][]string{
		{"-X", "PUT", "--data-binary", "@" + file, at},
		{"-T", file, at},
		{"-T", file, "-H", "Transfer-Encoding: chunked", at},
		{"-T", file, "-H", "Expect: 100-continue", at},
		{"-T", file, "--http1.0", at},
	} {
		if out := run(args...); !strings.HasSuffix(out, "\n201") || !strings.Contains(out, fmt.Sprintf(`"bytes":%d,`, len(data))) {
			t.Errorf("curl %v: %s", args, out)
		}
	}
	list := d.list()
	for _, o := range list {
		if out := run(d.url + "/objects/" + o.ID); out != string(data)+"\n200" {
			t.Errorf("%+v comes back as %d bytes", o, len(out))
		}
	}
	// A form is stored as it is sent. A part of a file is none (curl -C sends Content-Range).
	if out := run("-X", "PUT", "-F", "file=@"+file, at); !strings.HasSuffix(out, "\n201") || !strings.Contains(out, `"content_type":"multipart/form-data; boundary=`) {
		t.Errorf("curl -F: %s", out)
	}
	if out := run("-C", "100", "-T", file, at); !strings.HasSuffix(out, "\n400") || !strings.Contains(out, string(role.BadRequest)) {
		t.Errorf("curl -C: %s", out)
	}
	if got := len(d.list()); got != len(list)+1 {
		t.Errorf("%d objects, want %d", got, len(list)+1)
	}
}

// TestTruncated: an upload that ends before it should makes no object.
func TestTruncated(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	host := strings.TrimPrefix(d.url, "http://")
	body := strings.Repeat("x", 300<<10)
	for name, raw := range map[string]string{
		"length":    fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body)+1, body),
		"chunk":     fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(body)+1, body),
		"last":      fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(body), body),
		"no chunks": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%s", body),
	} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "PUT /objects?name=%s HTTP/1.1\r\nHost: %s\r\n%s", url.QueryEscape(name), host, raw)
		c.(*net.TCPConn).CloseWrite()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			raw, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s %s", name, res.Status, raw)
			}
		}
		c.Close()
	}
	if list := d.list(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// TestNames: a name that could not be read again, or not be shown, is refused before anything is stored.
func TestNames(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	for _, name := range []string{"", "größe 📦.tar", "a/b c", `"quoted";x=1`, strings.Repeat("ä", 512), "👩‍🚀"} {
		o := d.put("/objects?name="+url.QueryEscape(name), []byte("x"))
		if o.Name != name {
			t.Errorf("%q is stored as %q", name, o.Name)
		}
		if res, _ := d.do("GET", "/objects/"+o.ID, nil); res.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", name, res.Status)
		}
	}
	for _, name := range []string{"\xff\xfe", "a\x00", "a\nb", "\x1b[2J", "a\u202eb", "a\u2028", strings.Repeat("ä", 512) + "x"} {
		res, raw := d.do("PUT", "/objects?name="+url.QueryEscape(name), strings.NewReader("x"))
		d.refused(res, raw, http.StatusBadRequest, role.BadText)
	}
	res, raw := d.do("PUT", "/objects?name=%zz", strings.NewReader("x"))
	d.refused(res, raw, http.StatusBadRequest, role.BadRequest)
	if list := d.list(); len(list) != 6 {
		t.Errorf("%d objects", len(list))
	}
}

// TestDamagedRecords: books with records that cannot be read open all the same. A name is mended, and the
// object is whole; of what cannot be mended, the id is left, under which it can be deleted, and its shards are
// let go.
func TestDamagedRecords(t *testing.T) {
	d := newDoor(t, customer.Config{}, 1<<50)
	data := []byte("what was stored")
	good := d.put("/objects?name=good", data)
	named := d.put("/objects?name=named", data)
	torn := d.put("/objects?name=torn", data)
	shapeless := d.put("/objects?name=shapeless", data)
	d.close()
	db, err := bbolt.Open(d.books(), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		objects, manifests := tx.Bucket([]byte("objects")), tx.Bucket([]byte("manifests"))
		key := func(o customer.Object) []byte { id, _ := hex.DecodeString(o.ID); return id }
		raw := bytes.Replace(objects.Get(key(named)), []byte("named"), []byte("\xff\x1bmed"), 1)
		if err := objects.Put(key(named), raw); err != nil {
			return err
		}
		if err := objects.Put(key(torn), objects.Get(key(torn))[:20]); err != nil {
			return err
		}
		return manifests.Put(key(shapeless), []byte("none"))
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	d.open(customer.Config{})
	found := map[string]customer.Object{}
	for _, o := range d.list() {
		found[o.ID] = o
	}
	if o := found[named.ID]; o.Name != "\ufffd\ufffdmed" || o.Damaged {
		t.Errorf("named: %+v", o)
	}
	if !found[torn.ID].Damaged || !found[shapeless.ID].Damaged || found[good.ID].Damaged || len(found) != 4 {
		t.Errorf("%+v", found)
	}
	for _, o := range []customer.Object{good, named} {
		if _, back := d.do("GET", "/objects/"+o.ID, nil); !bytes.Equal(back, data) {
			t.Errorf("%s: %q", o.Name, back)
		}
	}
	for _, o := range []customer.Object{torn, shapeless} {
		res, raw := d.do("GET", "/objects/"+o.ID, nil)
		d.refused(res, raw, http.StatusGone, storage.BadRecord)
	}
	for _, o := range []customer.Object{torn, shapeless, named, good} {
		if res, raw := d.do("DELETE", "/objects/"+o.ID, nil); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s", o.Name, res.Status, raw)
		}
	}
	if list := d.list(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	d.Next()
	d.Next()
	for i, dev := range d.devices { // the shapeless one's shards are all that nobody can name
		s, err := storage.DecodeState(d.State().CategoryLine(dev.Key(), types.Storage))
		if err != nil || len(s.Sessions) != 1 || s.Sessions[0].Shards > 1 {
			t.Errorf("device %d: %+v, %v", i, s, err)
		}
	}
}

// TestTooLarge: what can never be held, or not be paid for, is refused before a byte of it comes; where the
// length is not said, as soon as it is too much.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	const credits = 3 << 16 // with each device, 24 epochs of 512 KiB
	d := newDoor(t, customer.Config{}, credits)
	ask := func(head, body string) (*http.Response, []byte) {
		t.Helper()
		c := d.dial("PUT /objects HTTP/1.1\r\nHost: x\r\n" + head + "\r\n\r\n" + body)
		defer c.Close()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(res.Body)
		return res, raw
	}
	const most = 2 << 20
	for length, reason := range map[int]types.Reason{1e15: types.Oversize, 1<<40 + 1: types.Oversize, 1 << 40: types.OverBudget, most + 1: types.OverBudget} {
		res, raw := ask(fmt.Sprintf("Content-Length: %d", length), "")
		d.refused(res, raw, map[types.Reason]int{types.Oversize: 413, types.OverBudget: 402}[reason], reason)
	}
	res, raw := ask("Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s", most+1, strings.Repeat("x", most+1)))
	d.refused(res, raw, http.StatusPaymentRequired, types.OverBudget)
	if list := d.list(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	d.put("/objects", make([]byte, 1<<20))
}
