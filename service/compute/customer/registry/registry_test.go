package registry

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// world is a registry with two accounts: alice and bob, whose names are their keys.
type world struct {
	*Registry
	t      *testing.T
	dir    string
	cfg    Config
	inputs *spool.Inputs
	at     string // host:port
	stop   func()
}

var accounts = map[string]types.Account{"alice": {1}, "bob": {2}}

func newWorld(t *testing.T, cfg Config) *world {
	w := &world{t: t, dir: t.TempDir(), cfg: cfg}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) start() {
	var err error
	if w.inputs, err = spool.OpenInputs(filepath.Join(w.dir, "inputs"), 1<<30); err != nil {
		w.t.Fatal(err)
	}
	if w.Registry, err = Open(w.cfg, w.dir, w.inputs, slog.New(slog.DiscardHandler)); err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.at = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- w.Serve(ctx, l, func(r *http.Request) (types.Account, error) {
			if a, ok := accounts[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; ok {
				return a, nil
			}
			return types.Account{}, types.Refuse(role.NoKey, "no key")
		})
	}()
	w.stop = func() {
		cancel()
		if err := errors.Join(<-done, w.Close()); err != nil {
			w.t.Error(err)
		}
	}
}

// do sends a request, and returns status, headers and body.
func (w *world) do(who, method, path string, body []byte, header ...string) (int, http.Header, string) {
	w.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = "http://" + w.at + path
	}
	q, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if who != "" {
		q.SetBasicAuth("any", who)
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(raw)
}

// push pushes a blob in one piece.
func (w *world) push(who, name string, p []byte) string {
	w.t.Helper()
	d := "sha256:" + types.Sum(p).String()
	if code, _, text := w.do(who, "POST", "/v2/"+name+"/blobs/uploads/?digest="+d, p); code != 201 {
		w.t.Fatalf("%d %s", code, text)
	}
	return d
}

// manifest is one of a configuration and a layer.
func manifest(config, layer []byte) []byte {
	d := func(kind string, p []byte) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","size":%d,"digest":"sha256:%v"}`, kind, len(p), types.Sum(p))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[%s]}`, d("config.v1+json", config), d("layer.v1.tar", layer))
}

const kind = "application/vnd.oci.image.manifest.v1+json"

// image pushes an image whole.
func (w *world) image(who, name, tag string, layer []byte) types.Hash {
	w.t.Helper()
	w.push(who, name, []byte("{}"))
	w.push(who, name, layer)
	m := manifest([]byte("{}"), layer)
	if code, _, text := w.do(who, "PUT", "/v2/"+name+"/manifests/"+tag, m, "Content-Type", kind); code != 201 {
		w.t.Fatalf("%d %s", code, text)
	}
	return types.Sum(m)
}

// TestSkopeo: skopeo pushes an image and gets the same back, also after a restart.
func TestSkopeo(t *testing.T) {
	skopeo := testutil.Program(t, "skopeo")
	w := newWorld(t, Config{})
	layout := filepath.Join(t.TempDir(), "layout")
	testutil.Busybox(t, layout)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(skopeo, append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("copy", "--dest-tls-verify=false", "--dest-creds", "me:alice", "oci:"+layout+":latest", "docker://"+w.at+"/tools/busybox:1")
	if out, err := exec.Command(skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", "me:eve", "oci:"+layout+":latest", "docker://"+w.at+"/x:1").CombinedOutput(); err == nil {
		t.Errorf("without a key: %s", out)
	}
	w.stop()
	w.start()
	back := filepath.Join(t.TempDir(), "back")
	run("copy", "--src-tls-verify=false", "--src-creds", "me:alice", "docker://"+w.at+"/tools/busybox:1", "oci:"+back+":latest")
	ours, _ := filepath.Glob(layout + "/blobs/sha256/*")
	theirs, _ := filepath.Glob(back + "/blobs/sha256/*")
	if len(ours) != 3 || len(theirs) != 3 {
		t.Fatalf("%v %v", ours, theirs)
	}
	for i := range ours {
		if filepath.Base(ours[i]) != filepath.Base(theirs[i]) {
			t.Errorf("%s became %s", ours[i], theirs[i])
		}
	}
	if out := run("list-tags", "--tls-verify=false", "--creds", "me:alice", "docker://"+w.at+"/tools/busybox"); !strings.Contains(out, `"1"`) {
		t.Error(out)
	}
	f, err := w.Find(accounts["alice"], w.at+"/tools/busybox:1")
	if err != nil || len(f.Parts) != 2 {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := w.Find(accounts["bob"], "tools/busybox:1"); types.ReasonOf(err) != compute.NoImage {
		t.Error(err)
	}
	if g, err := w.Find(accounts["alice"], "tools/busybox@sha256:"+f.Manifest.Hash.String()); err != nil || g.Manifest != f.Manifest {
		t.Error(err)
	}
}

// TestStrangers: another account's images and blobs are not there, not even for who knows their digests.
func TestStrangers(t *testing.T) {
	w := newWorld(t, Config{})
	layer := []byte("secret")
	h := w.image("alice", "app", "1", layer)
	d := "sha256:" + types.Sum(layer).String()
	for path, want := range map[string]int{"/v2/app/blobs/" + d: 404, "/v2/app/manifests/1": 404, "/v2/app/manifests/sha256:" + h.String(): 404, "/v2/app/tags/list": 404} {
		if code, _, _ := w.do("bob", "GET", path, nil); code != want {
			t.Errorf("bob gets %d for %s", code, path)
		}
		if code, _, _ := w.do("alice", "GET", path, nil); code != 200 {
			t.Errorf("alice gets %d for %s", code, path)
		}
		if code, head, text := w.do("", "GET", path, nil); code != 401 || head.Get("WWW-Authenticate") == "" || !strings.Contains(text, "UNAUTHORIZED") {
			t.Errorf("nobody gets %d for %s: %s", code, path, text)
		}
	}
	// A mount begins an upload instead, and a manifest can't name what its account has not pushed.
	if code, _, _ := w.do("bob", "POST", "/v2/app/blobs/uploads/?mount="+d+"&from=app", nil); code != 202 {
		t.Errorf("bob mounts alice's blob: %d", code)
	}
	w.push("bob", "app", []byte("{}"))
	if code, _, text := w.do("bob", "PUT", "/v2/app/manifests/1", manifest([]byte("{}"), layer), "Content-Type", kind); code != 404 || !strings.Contains(text, "BLOB_UNKNOWN") {
		t.Errorf("%d %s", code, text)
	}
	if code, _, text := w.do("bob", "GET", "/v2/_catalog", nil); code != 200 || strings.Contains(text, "app") {
		t.Errorf("%d %s", code, text)
	}
	// Nor can bob write into alice's upload.
	_, head, _ := w.do("alice", "POST", "/v2/app/blobs/uploads/", nil)
	if code, _, _ := w.do("bob", "PATCH", head.Get("Location"), []byte("x")); code != 404 {
		t.Errorf("%d", code)
	}
}

// TestRefuses: what a client sends that can't be kept is refused with the specification's word and our reason.
func TestRefuses(t *testing.T) {
	w := newWorld(t, Config{Account: 4 << 20, Names: 2, Uploads: 64})
	w.image("alice", "app", "1", []byte("layer"))
	good := manifest([]byte("{}"), []byte("layer"))
	begin := func() string {
		t.Helper()
		code, head, text := w.do("alice", "POST", "/v2/app/blobs/uploads/", nil)
		if code != 202 {
			t.Fatalf("%d %s", code, text)
		}
		return head.Get("Location")
	}
	d := "?digest=sha256:" + types.Sum([]byte("abcdef")).String()
	for name, c := range map[string]struct {
		method, path string
		body         []byte
		header       []string
		code         int
		word         string
	}{
		"a list of images":  {"PUT", "/v2/app/manifests/2", []byte(`{"schemaVersion":2,"manifests":[{}]}`), []string{"Content-Type", "application/vnd.oci.image.index.v1+json"}, 400, "MANIFEST_INVALID"},
		"another digest":    {"PUT", begin() + d, []byte("abcdeX"), nil, 409, "DIGEST_INVALID"},
		"no digest":         {"PUT", begin() + "?digest=md5:1", []byte("abcdef"), nil, 409, "DIGEST_INVALID"},
		"a gap":             {"PATCH", begin(), []byte("abc"), []string{"Content-Range", "5-7"}, 400, "BLOB_UPLOAD_INVALID"},
		"no such upload":    {"PATCH", "/v2/app/blobs/uploads/" + strings.Repeat("0", 32), []byte("abc"), nil, 404, "BLOB_UNKNOWN"},
		"a name of dots":    {"GET", "/v2/../../x/manifests/1", nil, nil, 404, ""},
		"a name in letters": {"PUT", "/v2/App/manifests/1", good, []string{"Content-Type", kind}, 404, "MANIFEST_UNKNOWN"},
		"a tag of slashes":  {"PUT", "/v2/app/manifests/a/b", good, []string{"Content-Type", kind}, 404, "MANIFEST_UNKNOWN"},
		"no manifest":       {"PUT", "/v2/app/manifests/2", []byte("{}"), []string{"Content-Type", kind}, 400, "MANIFEST_INVALID"},
		"no type":           {"PUT", "/v2/app/manifests/2", good, []string{"Content-Type", "text/html"}, 400, "MANIFEST_INVALID"},
		"another hash":      {"PUT", "/v2/app/manifests/sha256:" + strings.Repeat("0", 64), good, []string{"Content-Type", kind}, 409, "DIGEST_INVALID"},
		"too long":          {"PUT", "/v2/app/manifests/2", make([]byte, 2<<20), []string{"Content-Type", kind}, 413, "SIZE_INVALID"},
		"more than its own": {"PATCH", begin(), make([]byte, 5<<20), nil, 0, "DENIED"},
		"unknown path":      {"GET", "/v2/app/things/1", nil, nil, 404, "UNSUPPORTED"},
	} {
		code, _, text := w.do("alice", c.method, c.path, c.body, c.header...)
		if code != c.code && c.code != 0 || code < 400 || !strings.Contains(text, c.word) {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	// In parts, which is allowed.
	at := begin()
	for i, p := range []string{"abc", "def"} {
		if code, _, text := w.do("alice", "PATCH", at, []byte(p), "Content-Range", fmt.Sprintf("%d-%d", 3*i, 3*i+2)); code != 202 {
			t.Errorf("%d %s", code, text)
		}
	}
	if code, _, text := w.do("alice", "PUT", at+d, nil); code != 201 {
		t.Errorf("%d %s", code, text)
	}
	// More images, and more uploads, than an account may have.
	if code, _, _ := w.do("alice", "PUT", "/v2/app/manifests/2", good, "Content-Type", kind); code != 201 {
		t.Errorf("a second tag: %d", code)
	}
	if code, _, text := w.do("alice", "PUT", "/v2/app/manifests/3", good, "Content-Type", kind); !strings.Contains(text, "DENIED") {
		t.Errorf("a third tag: %d %s", code, text)
	}
	for range 12 {
		code, _, text := w.do("alice", "POST", "/v2/app/blobs/uploads/", nil)
		if code == 202 {
			continue
		}
		if !strings.Contains(text, "TOOMANYREQUESTS") {
			t.Errorf("%d %s", code, text)
		}
		return
	}
	t.Error("uploads without end")
}

// TestRetention: what nobody uses goes, what is used stays, and blobs that no manifest names are let go of.
func TestRetention(t *testing.T) {
	w := newWorld(t, Config{Keep: time.Hour, All: 8 << 20, Account: 8 << 20})
	w.image("alice", "app", "old", []byte("old"))
	w.image("alice", "app", "new", []byte("new"))
	w.push("alice", "app", []byte("loose"))
	w.mu.Lock()
	w.images[accounts["alice"]]["app:old"].Used -= 7200
	w.loose[accounts["alice"]][types.Sum([]byte("loose"))].at = time.Now().Add(-2 * looseFor)
	w.mu.Unlock()
	if err := w.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Find(accounts["alice"], "app:old"); types.ReasonOf(err) != compute.NoImage {
		t.Error(err)
	}
	if _, err := w.Find(accounts["alice"], "app:new"); err != nil {
		t.Error(err)
	}
	if code, _, _ := w.do("alice", "HEAD", "/v2/app/blobs/sha256:"+types.Sum([]byte("loose")).String(), nil); code != 404 {
		t.Errorf("%d", code)
	}
	// Room is made by what was not used for longest, if that is a day, and else there is none.
	big := make([]byte, 4<<20)
	w.image("bob", "big", "1", big)
	big[0]++
	up := func() (int, string) {
		code, _, text := w.do("alice", "POST", "/v2/app/blobs/uploads/?digest=sha256:"+types.Sum(big).String(), big)
		return code, text
	}
	if code, text := up(); !strings.Contains(text, "DENIED") {
		t.Errorf("%d %s", code, text)
	}
	w.mu.Lock()
	w.images[accounts["bob"]]["big:1"].Used -= int64(2 * idleFirst / time.Second)
	w.mu.Unlock()
	if code, text := up(); code != 201 {
		t.Errorf("%d %s", code, text)
	}
}

// TestStalled: a client that says nothing is cut, and its upload is gone.
func TestStalled(t *testing.T) {
	w := newWorld(t, Config{Silence: 50 * time.Millisecond})
	_, head, _ := w.do("alice", "POST", "/v2/app/blobs/uploads/", nil)
	conn, err := net.Dial("tcp", w.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := httptest.NewRequest("PATCH", head.Get("Location"), nil)
	q.SetBasicAuth("me", "alice")
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 100\r\n\r\nabc", head.Get("Location"), q.Header.Get("Authorization"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 400 {
		t.Errorf("%v %v", res, err)
	}
	if code, _, _ := w.do("alice", "GET", head.Get("Location"), nil); code != 404 {
		t.Errorf("%d", code)
	}
}
