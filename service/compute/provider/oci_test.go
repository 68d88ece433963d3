package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer"
	"github.com/cairn-network/cairn/service/role"
)

// containerPrice is a credit for each slot·ms.
const containerPrice = compute.OCIScale

// openContainers is Config.Open for containers alone. A machine that can't run them skips the test; in CI it fails.
func openContainers(t testing.TB, egress ...compute.Reach) func(dir string) ([]Executor, []Lack, error) {
	t.Helper()
	testutil.Program(t, "runc")
	ctx, cancel := context.WithTimeout(t.Context(), probeTime)
	defer cancel()
	lacks, err := probeOCI(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(lacks) > 0 {
		testutil.Missing(t, "a machine that can run containers: "+lackText(lacks))
	}
	return func(dir string) ([]Executor, []Lack, error) {
		e, lacks, err := OpenOCI(dir, 1<<30, egress...)
		if err != nil || e == nil {
			return nil, lacks, err
		}
		return []Executor{e}, lacks, nil
	}
}

// shop is a gateway whose customer has pushed busybox with skopeo.
type shop struct {
	t    testing.TB
	w    *world
	door http.Handler
}

func newShop(t testing.TB, egress ...compute.Reach) *shop {
	t.Helper()
	skopeo, open := testutil.Program(t, "skopeo"), openContainers(t, egress...)
	w := newWorld(t, func(c *Config) {
		c.Open, c.Slots, c.Prices = open, 2, map[types.Class]uint64{compute.OCI: containerPrice}
	})
	market := w.Market("buyer", 1<<40)
	w.device.Payer(t.Context(), market.Payer())
	c := customer.New(customer.Config{})
	door, err := c.Mount(market)
	if err != nil {
		t.Fatal(err)
	}
	at, err := c.Listen(role.Place{IP: "127.0.0.1"})
	if err != nil {
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
	layout := filepath.Join(t.TempDir(), "layout")
	testutil.Busybox(t, layout)
	out, err := exec.Command(skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", "me:key", "oci:"+layout+":latest",
		"docker://"+at["registry"]+"/busybox:latest").CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
	return &shop{t, w, door}
}

func (s *shop) do(method, path string, body []byte, want int, out any) []byte {
	s.t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	s.door.ServeHTTP(rec, r)
	raw, err := io.ReadAll(rec.Body)
	if err != nil || rec.Code != want {
		s.t.Fatalf("%s %s: %d %s", method, path, rec.Code, raw)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			s.t.Fatalf("%s %s: %v: %s", method, path, err, raw)
		}
	}
	return raw
}

// submit begins a container, and returns its job.
func (s *shop) submit(limit int, args ...string) string {
	s.t.Helper()
	return s.submitWith(nil, limit, args...)
}

// submitWith is submit for one that asks for more.
func (s *shop) submitWith(more map[string]any, limit int, args ...string) string {
	s.t.Helper()
	ask := map[string]any{"image": "busybox", "args": args, "limit": limit, "pages": 1024, "price": 2 * containerPrice}
	maps.Copy(ask, more)
	body, err := json.Marshal(ask)
	if err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // until it has heard what is free
		s.w.Tell()
		r := httptest.NewRequest("POST", "/jobs", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		s.door.ServeHTTP(rec, r)
		if rec.Code < 300 {
			var job struct{ ID string }
			if err := json.Unmarshal(rec.Body.Bytes(), &job); err != nil {
				s.t.Fatal(err)
			}
			return job.ID
		}
		if rec.Code != http.StatusServiceUnavailable || time.Now().After(end) {
			s.t.Fatalf("submit: %d %s", rec.Code, rec.Body)
		}
	}
}

type ended struct {
	State  string
	Exit   *uint32
	Reason types.Reason
	Fuel   uint64
	Tries  int
}

func (s *shop) result(id string) (e ended) {
	s.t.Helper()
	s.do("GET", "/jobs/"+id+"/result?wait=1", nil, http.StatusOK, &e)
	return e
}

func (s *shop) logs(id string) string {
	s.t.Helper()
	return string(s.do("GET", "/jobs/"+id+"/logs", nil, http.StatusOK, nil))
}

// TestContainers: an image that skopeo pushed runs on a device; who takes too much is ended with the reason,
// and the tally pays for the time.
func TestContainers(t *testing.T) {
	s := newShop(t)
	id := s.submit(20_000)
	if e := s.result(id); e.State != "done" || e.Exit == nil || *e.Exit != 0 || s.logs(id) != "hello\n" {
		t.Fatalf("%+v %q", e, s.logs(id))
	}
	for _, c := range []struct {
		name, script string
		limit        int
		reason       types.Reason
		exit         uint32
	}{
		{"exit code", "echo out; exit 3", 20_000, "", 3},
		{"fork bomb", "echo out; b() { b | b & }; b; sleep 30", 20_000, compute.TrapProcesses, 0},
		{"memory hog", "echo out; tail /dev/zero; sleep 30", 20_000, compute.TrapMemory, 0},
		{"disk filler", "echo out; cat /dev/zero >/big; sleep 30", 20_000, compute.TrapDisk, 0},
		{"time", "echo out; sleep 30", 1_500, compute.TrapTime, 0},
	} {
		id := s.submit(c.limit, "sh", "-c", c.script)
		e := s.result(id)
		if out := s.logs(id); e.Reason != c.reason || out != "out\n" || e.Tries != 1 || (e.Exit != nil) != (c.reason == "") || e.Exit != nil && *e.Exit != c.exit {
			t.Errorf("%s: %+v %q", c.name, e, out)
		}
		if c.reason == compute.TrapTime && e.Fuel != 1_500 {
			t.Errorf("%s: %d", c.name, e.Fuel)
		}
	}
	// What is not in the image is the customer's to mend: it costs nothing.
	if e := s.result(s.submit(20_000, "/no/such")); e.State != "failed" || e.Reason != compute.BadImage || e.Fuel != 0 {
		t.Errorf("%+v", e)
	}
	var total uint64
	var list []ended
	s.do("GET", "/jobs", nil, http.StatusOK, &list)
	for _, e := range list {
		total += e.Fuel
	}
	s.w.settled()
	for range 4 {
		s.w.Next()
	}
	s.w.clean(types.Superseded)
	if got := s.w.tallied(); got < types.Credit(total) || got > types.Credit(2*total) {
		t.Errorf("the tally has %d for %d slot·ms", got, total)
	}
	left, err := os.ReadDir(filepath.Join(s.w.now().dir, "run", "jobs"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestContainerAdopted: the node is killed while a container runs, and finds it again: the job ends once, with
// all of its output, on the same device.
func TestContainerAdopted(t *testing.T) {
	s := newShop(t)
	id := s.submit(30_000, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.25; done; cat /proc/sys/kernel/random/uuid; exit 9")
	for end := time.Now().Add(20 * time.Second); !strings.HasPrefix(s.logs(id), "1\n2\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not begin")
		}
	}
	if err := s.w.device.Stop(); err != nil {
		t.Fatal(err)
	}
	s.w.start()
	e := s.result(id)
	if out := s.logs(id); !strings.HasPrefix(out, "1\n2\n3\n4\n5\n6\n7\n8\n") || len(out) != 16+37 || e.Exit == nil || *e.Exit != 9 || e.Tries != 1 || e.Fuel < 1_500 {
		t.Errorf("%+v %q", e, out)
	}
	s.w.settled()
	for range 4 {
		s.w.Next()
	}
	s.w.clean(types.Superseded)
	if got := s.w.tallied(); got < types.Credit(e.Fuel) || got > types.Credit(2*e.Fuel) {
		t.Errorf("the tally has %d for %d slot·ms", got, e.Fuel)
	}
}
