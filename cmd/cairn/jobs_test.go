package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/internal/testutil"
)

// stepsProgram is a program that computes and writes in turn, the same into a file "out": testdata/jobs/steps.wat.
//
//go:embed testdata/jobs/steps.wasm
var stepsProgram []byte

// jobPrice is what 10⁹ fuel cost on the test's devices, in micro-credits: 10⁶ cost 500.
const jobPrice = 500_000

// wrote is what stepsProgram writes for so many bytes of input.
func wrote(n int) []byte {
	out, x := make([]byte, 0, n<<13), uint64(1)
	for range n << 10 {
		x = x*6364136223846793005 + 1442695040888963407
		out = binary.LittleEndian.AppendUint64(out, x)
	}
	return out
}

// jobCrew is a crew that runs jobs.
type jobCrew struct {
	*crew
	t    *testing.T
	rng  *rand.Rand
	api  string
	key  string // of the customer
	stop atomic.Bool

	mu    sync.Mutex
	fuel  map[string]uint64 // by what was read
	tries int               // of all jobs
	paid  uint64            // for all jobs
	again int               // how often a log was read on after a break
	done  atomic.Int32
}

func (c *jobCrew) need(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *jobCrew) do(line ...string) []byte {
	c.t.Helper()
	out, err := c.run(c.t.Context(), line...)
	c.need(err)
	return out
}

const computers = 3

// begin starts a validator, a bus, a verifier, a gateway, and devices that run jobs.
func (c *jobCrew) begin() {
	var made []struct{ Home, RPC string }
	port := func() string {
		at, err := testutil.FreeAddress()
		c.need(err)
		return at
	}
	c.need(json.Unmarshal(c.do("cairn", "testnet", "init-files", "--validators", "1", "--output-dir", "chain", "--id", "cairn-jobs", "--block-time", "250ms", "--epoch-blocks", "10"), &made))
	rpc, at, bus := made[0].RPC, port(), port()
	c.api = "http://" + at
	c.need(c.add("validator", "cairn", "start", "--home", made[0].Home, "--log_level", "error", "--disk-warn", "0", "--disk-stop", "0"))
	door := parse[struct{ Key string }](c.t, c.do("cairn", "gateway", "key", "--home", "gateway", "--json")).Key
	c.do("cairn", "bus", "init", "--home", "bus", "--chain", "cairn-jobs", "--rpc", "http://"+rpc, "--listen", bus, "--listen-status", "127.0.0.1:0", "--gateway", door)
	c.need(c.add("bus", "cairn", "bus", "run", "--home", "bus"))
	c.do("cairn", "verifier", "init", "--home", "verifier", "--chain", "cairn-jobs", "--rpc", "http://"+rpc, "--bus", "nats://"+bus, "--keyring", c.path(made[0].Home), "--listen-status", "127.0.0.1:0")
	_, err := c.until(c.t.Context(), "cairn", "verifier", "register", "--home", "verifier")
	c.need(err)
	c.need(c.add("verifier", "cairn", "verifier", "run", "--home", "verifier"))
	_, err = c.until(c.t.Context(), "cairn", "network", "publish", "--home", "publisher", "--rpc", "http://"+rpc, "--bus", "nats://"+bus, "--gateway", c.api, "--out", "manifest.json")
	c.need(err)
	c.do("cairn", "gateway", "init", "--home", "gateway", "--network", "manifest.json", "--listen", at, "--private", "127.0.0.0/8", "--listen-status", "127.0.0.1:0")
	c.need(c.add("gateway", "cairn", "gateway", "run", "--home", "gateway"))
	names := []string{"alice"}
	for i := range computers {
		names = append(names, fmt.Sprintf("owner-%d", i))
	}
	accounts, err := c.accounts(c.t.Context(), names...)
	c.need(err)
	group, ctx := errgroup.WithContext(c.t.Context())
	group.Go(func() error {
		out, err := c.until(ctx, "cairn", "account", "key", "alice", "--home", people, "--api", c.api, "--json")
		if err != nil {
			return err
		}
		var made struct {
			Key string `json:"api_key"`
		}
		if err := json.Unmarshal(out, &made); err != nil {
			return err
		}
		c.key = made.Key
		_, err = c.run(ctx, "cairn", "credit", "buy", "90", "--from", "alice", "--home", people)
		return err
	})
	for i := range computers {
		group.Go(func() error { return c.computer(ctx, i, accounts[names[i+1]]) })
	}
	c.need(group.Wait())
}

// computer sets up a device that runs jobs, has its owner register it, and starts it.
func (c *jobCrew) computer(ctx context.Context, i int, owner string) error {
	name := fmt.Sprintf("device-%d", i)
	_, err := c.run(ctx, "cairn-node", "init", "--home", name, "--network", "manifest.json", "--owner", owner, "--cell", "871fb4662ffffff", "--yes", "--offer", "compute",
		"--set", fmt.Sprintf("compute.price=%d", jobPrice+i), "--set", "compute.slots=4", "--set", `compute.private_gateways=["127.0.0.0/8"]`, "--set", "compute.memory_bytes=268435456",
		"--set", "compute.disk_bytes=1073741824", "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	code, err := c.run(ctx, "cairn-node", "code", "--home", name, "--qr=false")
	if err != nil {
		return err
	}
	if _, err := c.run(ctx, "cairn", "device", "register", strings.TrimSpace(string(code)), "--bond", "6.72", "--home", people); err != nil {
		return err
	}
	return c.add(name, "cairn-node", "run", "--home", name, "--disk-warn", "0", "--disk-stop", "0")
}

// ask sends a request to the gateway.
func (c *jobCrew) ask(method, path string, body []byte, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.api+"/compute/v1"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return http.DefaultClient.Do(r)
}

// answer is ask for an answer that is read as a whole.
func (c *jobCrew) answer(method, path string, body []byte, header ...string) (status int, raw []byte, err error) {
	res, err := c.ask(method, path, body, header...)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err = io.ReadAll(res.Body)
	return res.StatusCode, raw, err
}

// jobEnd is how a job ended, as far as the test looks.
type jobEnd struct {
	ID, State, Reason, Message string
	Exit                       *uint32
	Fuel, Price                uint64
	Paid                       uint64 `json:",string"`
	Tries                      int
}

// jobPatience is how long the customer tries one thing again.
const jobPatience = 3 * time.Minute

// job has a job done as a customer does whose requests may find nobody: it asks again with the same key, and
// reads the log on where it broke off.
func (c *jobCrew) job(number int, stdin string) error {
	var id string
	for end := time.Now().Add(jobPatience); ; time.Sleep(50 * time.Millisecond) {
		status, raw, err := c.answer("POST", "/inputs", []byte(stdin))
		var in struct{ Hash string }
		if err == nil && status == 201 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return err
			}
			status, raw, err = c.answer("POST", fmt.Sprintf("/jobs?limit=2000000000&pages=2&price=%d&stdin=%s", 4*jobPrice, in.Hash), stepsProgram, "Idempotency-Key", fmt.Sprint("job-", number),
				"Content-Type", "application/wasm")
		}
		if err == nil && (status == 201 || status == 200) {
			var p struct{ ID string }
			if err := json.Unmarshal(raw, &p); err != nil {
				return err
			}
			id = p.ID
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("job %d is never taken: %d %s, %w", number, status, raw, err)
		}
	}
	var got bytes.Buffer
	want := wrote(len(stdin))
	for end, at := time.Now().Add(jobPatience), 0; ; {
		res, err := c.ask("GET", fmt.Sprintf("/jobs/%s/logs?follow=1&offset=%d", id, at), nil)
		if err == nil {
			if res.StatusCode == 200 {
				_, err = io.Copy(&got, res.Body)
			} else {
				err = fmt.Errorf("status %d", res.StatusCode)
			}
			res.Body.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the log of job %d is never read to its end: %w", number, err)
		}
		if got.Len() > at {
			c.mu.Lock()
			c.again++
			c.mu.Unlock()
		}
		at = got.Len()
		if !bytes.HasPrefix(want, got.Bytes()) {
			return fmt.Errorf("job %d: %d bytes of log are not what the program writes", number, at)
		}
		time.Sleep(50 * time.Millisecond)
	}
	var e jobEnd
	for end := time.Now().Add(jobPatience); ; time.Sleep(50 * time.Millisecond) {
		status, raw, err := c.answer("GET", "/jobs/"+id+"/result?wait=1", nil)
		if err == nil && status == 200 {
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("job %d has no result: %d %s, %w", number, status, raw, err)
		}
	}
	if e.State != "done" || e.Exit == nil || *e.Exit != 0 {
		return fmt.Errorf("job %d: %+v", number, e)
	}
	if !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("job %d wrote %d bytes, want %d", number, got.Len(), len(want))
	}
	for end := time.Now().Add(jobPatience); ; time.Sleep(50 * time.Millisecond) {
		status, raw, err := c.answer("GET", "/jobs/"+id+"/files/out", nil)
		if err == nil && status == 200 {
			if !bytes.Equal(raw, want) {
				return fmt.Errorf("job %d left %d bytes, want %d", number, len(raw), len(want))
			}
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("what job %d left is not to be had: %d %s, %w", number, status, raw, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if was, ok := c.fuel[stdin]; ok && was != e.Fuel {
		return fmt.Errorf("job %d used %d fuel, another one with the same input %d", number, e.Fuel, was)
	}
	c.fuel[stdin] = e.Fuel
	c.tries += e.Tries
	c.paid += e.Paid
	c.done.Add(1)
	return nil
}

// input is what a job reads: most are done in some milliseconds, one of five takes some hundred.
func (c *jobCrew) input() string {
	n, letters := 1+c.rng.IntN(4), 8
	if c.rng.IntN(5) == 0 {
		n, letters = 16, 26
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + c.rng.IntN(letters))
	}
	return string(b)
}

// until waits until so many jobs are done.
func (c *jobCrew) doneJobs(n int) {
	for int(c.done.Load()) < n && !c.stop.Load() {
		time.Sleep(5 * time.Millisecond)
	}
}

// jobBooks is what the gateway's books say of all jobs.
type jobBooks struct {
	jobs         int
	paid, signed uint64 // what the jobs cost, and what receipts say
	lost         uint64 // of that, what was paid to devices that did not end them
	lostTries    int
}

// open opens a database of a member that does not run.
func (c *jobCrew) open(member, name string) *bbolt.DB {
	c.t.Helper()
	var path string
	c.need(filepath.WalkDir(c.path(member), func(at string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == name && filepath.Base(filepath.Dir(at)) == "compute" {
			path = at
		}
		return err
	}))
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Minute})
	c.need(err)
	return db
}

// owed is what devices have run that was not paid for: in the journals of those that do not run, in time of one
// slot. No account may owe one of them more than it trusts it with, which is ten seconds at most.
func (c *jobCrew) owed() (all time.Duration) {
	c.t.Helper()
	fields := func(raw []byte) (list []cbor.RawMessage) {
		c.need(cbor.Unmarshal(raw, &list))
		return list
	}
	number := func(raw cbor.RawMessage) (n uint64) {
		c.need(cbor.Unmarshal(raw, &n))
		return n
	}
	for i := range computers {
		db := c.open(fmt.Sprintf("device-%d", i), "journal.db")
		owed, window, jobs := time.Duration(0), time.Second, 0
		c.need(db.View(func(tx *bbolt.Tx) error {
			err := tx.Bucket([]byte("trust")).ForEach(func(_, raw []byte) error {
				trust := fields(raw)
				window = max(window, time.Duration(number(trust[0])))
				owed += time.Duration(number(trust[2]))
				return nil
			})
			if err != nil {
				return err
			}
			return tx.Bucket([]byte("sessions")).ForEach(func(_, raw []byte) error {
				tab := fields(raw)
				jobs += int(number(tab[3]))
				if ended, paid := number(tab[4]), number(tab[8]); ended > paid { // a nanosecond is a unit of fuel
					owed += time.Duration(ended - paid)
				}
				return nil
			})
		}))
		c.need(db.Close())
		c.t.Logf("device %d took %d jobs and is owed %v of at most %v", i, jobs, owed, window)
		if owed > window || window > 10*time.Second || jobs == 0 {
			c.t.Errorf("device %d took %d jobs and is owed %v, of at most %v", i, jobs, owed, window)
		}
		all += owed
	}
	return all
}

// shown checks what commands say of the market, to whoever has no home here, and to a customer for whom all
// devices are too dear.
func (c *jobCrew) shown() {
	c.t.Helper()
	var asks []struct {
		Device, Class string
		Passed        string `json:"passed_over"`
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) { // until all are heard
		asks = nil
		c.need(json.Unmarshal(c.do("cairn", "market", "--class", "wasm", "--price", fmt.Sprint(jobPrice), "--network", "manifest.json", "--home", "nowhere", "--json"), &asks))
		if len(asks) == computers && asks[0].Passed == "" && asks[1].Passed == "price" && asks[2].Passed == "price" {
			break
		}
		if time.Now().After(end) {
			c.t.Fatalf("the market is %+v", asks)
		}
	}
	c.need(os.WriteFile(c.path("steps.wasm"), stepsProgram, 0o600))
	tooDear := func() error {
		_, err := c.run(c.t.Context(), "cairn", "job", "run", "--home", people, "--account", "alice", "--api", c.api, "--price", "1", "steps.wasm")
		return err
	}
	err := tooDear()
	for end := time.Now().Add(time.Minute); err != nil && strings.Contains(err.Error(), "silent") && time.Now().Before(end); {
		err = tooDear() // a busy machine's device may be silent for a moment
	}
	if err == nil || !strings.Contains(err.Error(), "3 price") || !strings.Contains(err.Error(), "compute.no_match") {
		c.t.Errorf("too dear: %v", err)
	}
}

// figures checks that a device says something on /metrics.
func (c *jobCrew) figures(member string, names ...string) {
	c.t.Helper()
	at, err := os.ReadFile(filepath.Join(c.path(member), "node.address"))
	c.need(err)
	res, err := http.Get("http://" + string(at) + "/metrics")
	c.need(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	c.need(err)
	for _, name := range names {
		if !bytes.Contains(body, []byte("\n"+name+" ")) {
			c.t.Errorf("no figure %s in\n%s", name, body)
		}
	}
}

// spent is what the last tally has of the customer's key.
func (c *jobCrew) spent() uint64 {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), "GET", c.api+"/v1/credit", nil)
	c.need(err)
	r.Header.Set("Authorization", "Bearer "+c.key)
	res, err := http.DefaultClient.Do(r)
	c.need(err)
	defer res.Body.Close()
	var out struct {
		Spent uint64 `json:",string"`
	}
	c.need(json.NewDecoder(res.Body).Decode(&out))
	return out.Spent
}

// books reads the books of a gateway that does not run.
func (c *jobCrew) books() (b jobBooks) {
	c.t.Helper()
	db := c.open("gateway", "jobs.db")
	defer db.Close()
	type record struct {
		Key, State string
		Fuel       uint64
		Paid       uint64
		Tries      []struct {
			Price, Paid uint64
			Reason      string
		}
	}
	keys := map[string]bool{}
	c.need(db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket([]byte("jobs")).ForEach(func(_, raw []byte) error {
			var r record
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			b.jobs++
			b.paid += r.Paid
			if keys[r.Key] || r.State != "done" || len(r.Tries) == 0 {
				c.t.Errorf("a job that ended otherwise than once: %+v", r)
				return nil
			}
			keys[r.Key] = true
			sum := uint64(0)
			for i, t := range r.Tries {
				sum += t.Paid
				if most := r.Fuel*t.Price/1_000_000_000 + 1; t.Paid > most {
					c.t.Errorf("%s: try %d was paid %d, the whole job costs %d: %+v", r.Key, i, t.Paid, most, r)
				}
				if i < len(r.Tries)-1 {
					b.lost += t.Paid
					b.lostTries++
				}
			}
			if sum != r.Paid {
				c.t.Errorf("%s: its tries were paid %d, it cost %d", r.Key, sum, r.Paid)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket([]byte("sessions")).ForEach(func(_, raw []byte) error {
			var s struct{ Amount uint64 }
			err := json.Unmarshal(raw, &s)
			b.signed += s.Amount
			return err
		})
	}))
	return b
}

// TestJobsKilled: a customer has 200 jobs done while a device, the gateway, the bus and the verifier are
// killed, all of them processes. Every job ends once, with the output that it has without kills, read on where
// a log broke off; it is charged once; and what was paid to a device that was lost, and what a device has not
// been paid for, is within what the rules allow. `make soak` kills each of them several times.
func TestJobsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	jobs, rounds := 200, 1
	if soak {
		jobs, rounds = 1000, 5
	}
	members, end := newCrew(t.TempDir())
	t.Cleanup(end)
	c := &jobCrew{crew: members, t: t, rng: rand.New(rand.NewPCG(11, 12)), fuel: map[string]uint64{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.logs())
		}
	})
	begun := time.Now()
	stage := func(what string, args ...any) {
		t.Logf("%v: %s", time.Since(begun).Round(100*time.Millisecond), fmt.Sprintf(what, args...))
	}
	c.begin()
	stage("all run")
	inputs := make([]string, jobs)
	for i := range inputs {
		inputs[i] = c.input()
	}
	c.need(c.job(-1, "aa"))
	stage("a first job is done")
	c.shown()
	next := make(chan int)
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			for i := range next {
				if err := c.job(i, inputs[i]); err != nil {
					c.stop.Store(true)
					return err
				}
			}
			return nil
		})
	}
	killed := make(chan error, 1)
	go func() { killed <- c.kills(jobs, rounds, stage) }()
	for i := range jobs {
		if c.stop.Load() {
			break
		}
		next <- i
	}
	close(next)
	err := group.Wait()
	c.stop.Store(true)
	c.need(errors.Join(err, <-killed))
	stage("%d jobs are done, in %d tries; %d logs were read on", jobs, c.tries, c.again)
	for end := time.Now().Add(time.Minute); soak && c.spent() < c.paid && time.Now().Before(end); { // what was signed last is handed in with the next epochs
		time.Sleep(100 * time.Millisecond)
	}
	spent := c.spent()
	c.figures("device-1", `cairn_compute_jobs_ended_total{how="done"}`, "cairn_compute_unpaid_credits", `cairn_compute_wasm_children{state="idle"}`)
	for name := range c.members {
		c.kill(name)
	}
	b := c.books()
	owed := c.owed()
	stage("the books have %+v; the tally has %d; devices are owed %v", b, spent, owed)
	// What is signed is what jobs cost; what a tally has is no more, and in the end no less than what no device
	// has lost.
	if b.jobs != jobs+1 || b.paid != b.signed || b.paid != c.paid || spent > b.signed {
		t.Errorf("%+v, the customer saw %d, the tally has %d", b, c.paid, spent)
	}
	if short := b.signed - min(spent, b.signed); soak && short > uint64(owed.Nanoseconds())*(jobPrice+computers)/1_000_000_000 {
		t.Errorf("%d of %d that were signed do not count, and devices are owed %v", short, b.signed, owed)
	}
	if b.lostTries > c.tries-jobs {
		t.Errorf("%d tries were lost, jobs took %d", b.lostTries, c.tries)
	}
}

// kills kills the members one after the other while jobs run, and starts them again.
func (c *jobCrew) kills(jobs, rounds int, stage func(string, ...any)) error {
	kinds := []string{"device", "gateway", "bus", "verifier"}
	for k := range rounds * len(kinds) {
		c.doneJobs((k + 1) * jobs / (rounds*len(kinds) + 1))
		name := kinds[k%len(kinds)]
		if name == "device" {
			name = fmt.Sprintf("device-%d", k/len(kinds)%computers)
		}
		time.Sleep(time.Duration(c.rng.IntN(100)) * time.Millisecond)
		c.kill(name)
		stage("%s is killed after %d jobs", name, c.done.Load())
		time.Sleep(time.Duration(c.rng.IntN(1000)) * time.Millisecond)
		if err := c.start(name); err != nil {
			return err
		}
	}
	return nil
}
