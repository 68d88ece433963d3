package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer"
	"github.com/cairn-network/cairn/service/compute/provider"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// world is a device and a gateway, as they run anywhere, and verifiers who audit. Jobs run in real sandboxes.
type world struct {
	*roletest.World
	t      *testing.T
	device *roletest.Device
	door   http.Handler
	seats  map[types.Key]*seat
	module []byte
}

// seat is a verifier that audits.
type seat struct {
	*roletest.Verifier
	w    *world
	cfg  Config
	stop func()
}

// dishonest is an executor that changes what comes out, or gives up early and says that the fuel was used up.
type dishonest struct {
	provider.Executor
	change func(*compute.Result)
	lazy   uint64 // the fuel after which it gives up; 0 for never
}

func (d *dishonest) Run(ctx context.Context, t *provider.Task) (*compute.Result, compute.Files, error) {
	if d.lazy > 0 {
		job, task := *t.Job, *t
		job.Limit, task.Job = d.lazy, &job
		t = &task
	}
	r, f, err := d.Executor.Run(ctx, t)
	if err == nil && d.change != nil {
		d.change(r)
	}
	return r, f, err
}

// newWorld makes a world with so many verifiers, and a device that cheats; nil for an honest one.
func newWorld(t *testing.T, verifiers int, cheat *dishonest) *world {
	t.Helper()
	_, lacks, err := openGuests(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(lacks) > 0 {
		t.Skip("this machine holds no guests: " + lacks[0].Text)
	}
	w := &world{World: roletest.New(t, compute.New()), t: t, seats: map[types.Key]*seat{}}
	w.module, err = os.ReadFile(filepath.Join("..", "..", "customer", "program", "count.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range verifiers {
		s := &seat{Verifier: w.Verifier("verifier " + string(rune('a'+i))), w: w}
		w.seats[s.Key()] = s
	}
	w.device = w.Device("device")
	w.start(cheat)
	market := w.Market("buyer", 1<<40)
	w.device.Payer(t.Context(), market.Payer())
	c := customer.New(customer.Config{})
	if w.door, err = c.Mount(market); err != nil {
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
	w.Next() // the verifiers have power
	return w
}

// start runs the device anew.
func (w *world) start(cheat *dishonest) {
	w.t.Helper()
	p, err := provider.New(provider.Config{
		Slots: 2, Prices: map[types.Class]uint64{compute.Wasm: 1_000_000}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Open: func(dir string) ([]provider.Executor, []provider.Lack, error) {
			e, lacks, err := provider.OpenWasm(dir, 2)
			if e != nil && cheat != nil {
				cheat.Executor = e
				e = cheat
			}
			return []provider.Executor{e}, lacks, err
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r := p.Role()
	w.device.Requests, w.device.Blobs = r.Requests, r.Blobs
	w.device.Start(p)
}

func (w *world) call(method, path string, body []byte, out any) int {
	w.t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/wasm")
	rec := httptest.NewRecorder()
	w.door.ServeHTTP(rec, r)
	raw, err := io.ReadAll(rec.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if rec.Code < 300 && out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, path, err, raw)
		}
	}
	return rec.Code
}

// run has the device run a job that counts a text, to its end.
func (w *world) run(text []byte, query string) {
	w.t.Helper()
	var in struct{ Hash string }
	if code := w.call("POST", "/inputs", text, &in); code != http.StatusCreated {
		w.t.Fatal(code)
	}
	var job struct{ ID string }
	for end := time.Now().Add(20 * time.Second); w.call("POST", "/jobs?price=1000000&stdin="+in.Hash+query, w.module, &job) >= 300; time.Sleep(20 * time.Millisecond) {
		w.Tell() // a node beats by itself
		if time.Now().After(end) {
			w.t.Fatal("no device takes the job")
		}
	}
	var out struct{ State string }
	if code := w.call("GET", "/jobs/"+job.ID+"/result?wait=1", nil, &out); code != http.StatusOK || out.State != "done" && out.State != "failed" {
		w.t.Fatalf("%d %+v", code, out)
	}
}

// audit runs an auditor on a verifier.
func (s *seat) audit(cfg Config) *seat {
	s.w.t.Helper()
	s.cfg = cfg
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(cfg).Run(ctx, s.Verifier) }()
	stopped := false
	s.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				s.w.t.Error(err)
			}
		}
	}
	s.w.t.Cleanup(s.stop)
	s.w.until("an auditor listens", s.Listening)
	return s
}

// until waits for something.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

// panel returns who decides about the device in the present epoch.
func (w *world) panel() (members []*seat, f int) {
	w.t.Helper()
	drawn, err := w.device.Panel(w.t.Context(), compute.ForAudit)
	if err != nil {
		w.t.Fatal(err)
	}
	keys, f := compute.Panel(drawn)
	for _, k := range keys {
		members = append(members, w.seats[k])
	}
	return members, f
}

// reports returns what was reported in the present epoch, of a kind.
func (w *world) reports(kind evidence.Kind) (list []*evidence.Envelope) {
	for _, s := range w.seats {
		list, _, _, _ = s.Reported(w.t.Context(), kind, 0)
		break
	}
	return list
}

// audits waits for so many reports of audits, and returns them.
func (w *world) audits(n int) (list []*compute.Audit) {
	w.t.Helper()
	w.until("reports of audits", func() bool {
		w.Tell()
		return len(w.reports(compute.KindAudit)) >= n
	})
	for _, e := range w.reports(compute.KindAudit) {
		a, err := compute.DecodeAudit(e.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, a)
	}
	if len(list) != n {
		w.t.Fatalf("%d reports, want %d", len(list), n)
	}
	return list
}

// due goes to the epoch in which what ran by now is audited.
func (w *world) due() {
	for range 1 + compute.AuditDelay {
		w.Next()
	}
}

// line is the device's.
func (w *world) line() *compute.State {
	w.t.Helper()
	s, err := compute.DecodeState(w.State().CategoryLine(w.device.Key(), types.Compute))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// refused counts what tallies refused of verifiers, by reason.
func (w *world) refused() map[types.Reason]int {
	out := map[types.Reason]int{}
	for _, r := range w.Refused() {
		if w.seats[r.Device] != nil {
			out[r.Reason]++
		}
	}
	return out
}

// everybody has all verifiers audit.
func (w *world) everybody(cfg Config) {
	for _, s := range w.seats {
		s.audit(cfg)
	}
}
