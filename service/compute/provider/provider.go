package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/provider/card"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// Provider is compute on a device.
type Provider struct {
	cfg      Config
	draining atomic.Bool
	device   atomic.Pointer[device] // nil while it does not run

	mu      sync.Mutex // guards what follows
	remarks []said
	ended   map[string]float64 // jobs since the start, by how
	refused map[string]float64 // orders since the start, by reason
	units   map[string]float64 // of jobs that have ended since the start, by class
}

// said is a remark about something, and when it was made.
type said struct {
	about  string
	remark role.Remark
	at     time.Time
}

// New returns the device's side of compute.
func New(cfg Config) (*Provider, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Provider{cfg: cfg.withDefaults()}, nil
}

// Role returns p as a node runs it.
func (p *Provider) Role() role.Provider {
	return role.Provider{
		Category: types.Compute, Run: p.Run, Remarks: p.Remarks, Serves: p.Serves, Figures: p.Figures, Reasons: compute.New().Spec.Reasons, Requests: p.requests(), Blobs: p.blobs(),
	}
}

// Drain has the device take nothing new from now on, or again. What runs goes on.
func (p *Provider) Drain(on bool) {
	p.draining.Store(on)
	if d := p.device.Load(); d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.tell()
	}
}

// forgetRemark is how long something that happened is said to the owner.
const forgetRemark = 24 * time.Hour

// remark says something to the owner, once for what it is about.
func (p *Provider) remark(about string, r role.Remark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsay(about)
	p.remarks = append([]said{{about, r, time.Now()}}, p.remarks...)
	p.remarks = p.remarks[:min(len(p.remarks), role.MaxRemarks)]
}

// unsay takes a remark back. mu is held.
func (p *Provider) unsay(about string) {
	p.remarks = slices.DeleteFunc(p.remarks, func(s said) bool { return s.about == about })
}

// Remarks returns what the owner should know now.
func (p *Provider) Remarks() (list []role.Remark) {
	if d := p.device.Load(); d != nil {
		if d.models != nil {
			if err := d.models.missing(); err != nil {
				list = append(list, role.Remark{Reason: compute.ModelDown, Text: err.Error()})
			}
		}
		if err := d.host.Room(); err != nil {
			list = append(list, role.Remark{Reason: types.ReasonOf(err), Text: "no new jobs are taken: " + err.Error()})
		}
		d.mu.Lock()
		if d.outBytes+2*maxStream > d.cfg.Disk/2 || d.pinnedBytes >= d.cfg.Disk/2 {
			list = append(list, role.Remark{Reason: compute.NoSpace, Try: "Raise compute.disk_bytes.",
				Text: fmt.Sprintf("what jobs read (%d MiB) and wrote (%d MiB) fills the disk that they may have", d.pinnedBytes>>20, d.outBytes>>20)})
		}
		d.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.remarks {
		if time.Since(s.at) < forgetRemark {
			list = append(list, s.remark)
		}
	}
	return list
}

// Serves returns what is on offer now.
func (p *Provider) Serves() (list []string) {
	d := p.device.Load()
	if d == nil || p.draining.Load() {
		return nil
	}
	for _, class := range []types.Class{compute.Wasm, compute.OCI, compute.Model} {
		e, price := d.executors[class], d.cfg.Prices[class]
		if e == nil {
			continue
		}
		for _, profile := range e.Profiles() {
			switch class {
			case compute.Model:
				list = append(list, fmt.Sprintf("%s for %d micro-credits a million tokens of a prompt, %d of an answer", profile.Name,
					price*uint64(profile.Prompt), price*uint64(profile.Completion)))
			case compute.OCI:
				list = append(list, fmt.Sprintf("%s for %d micro-credits an hour of a slot", profile.Name, price))
			default:
				list = append(list, fmt.Sprintf("%s for %d micro-credits a billion instructions", profile.Name, price))
			}
		}
	}
	return list
}

// device is one Run.
type device struct {
	provider  *Provider
	cfg       Config
	host      role.Host
	chain     string
	key       types.Key
	log       *slog.Logger
	dir       string
	ctx       context.Context
	books     *books
	inputs    *spool.Inputs
	links     *link.Client
	models    *models       // nil where no server of models is offered
	remodel   chan struct{} // holds one when that has other models
	executors map[types.Class]Executor
	checks    *checks
	card      atomic.Pointer[card.Card] // nil where this processor computes rounds of accelerators
	work      sync.WaitGroup
	view      atomic.Pointer[role.Notice] // the newest; never nil

	mu       sync.Mutex // guards what follows
	stopping bool
	changed  chan struct{}
	sessions map[sessionKey]*session
	ids      map[types.SessionID]types.Key // whose they are
	gone     map[types.SessionID]bool      // were dropped, and have not expired: they never begin again
	accounts map[types.Account]*account
	jobs     map[types.Hash]*job

	open        int    // jobs whose end the gateway does not have
	slots       uint32 // taken
	resting     uint32 // of these, by jobs of class model that nobody asks anything
	memory      uint64
	pinned      map[types.Hash]int // inputs that jobs refer to
	pinnedBytes uint64
	outBytes    uint64

	audits auditors

	turn turn // belongs to follow
}

// Run takes orders and runs jobs until ctx ends.
func (p *Provider) Run(ctx context.Context, host role.Host) error {
	ctx, cancel := context.WithCancelCause(ctx)
	d, err := open(ctx, p, host)
	if err != nil {
		cancel(nil)
		return err
	}
	resume := d.resume()
	p.device.Store(d)
	if d.models != nil {
		d.work.Go(func() { d.models.watch(ctx) })
	}
	d.readyMix(ctx)
	d.readyCard()
	err = d.follow(ctx, resume)
	p.device.Store(nil)
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	cancel(errStop)
	d.work.Wait()
	return errors.Join(err, d.close())
}

func open(ctx context.Context, p *Provider, host role.Host) (*device, error) {
	d := &device{
		provider: p, cfg: p.cfg, host: host, chain: host.Chain(), key: host.Key(), log: host.Log(), dir: host.Dir(), ctx: ctx,
		changed: make(chan struct{}), sessions: map[sessionKey]*session{}, ids: map[types.SessionID]types.Key{}, gone: map[types.SessionID]bool{}, accounts: map[types.Account]*account{}, jobs: map[types.Hash]*job{},
		pinned: map[types.Hash]int{}, executors: map[types.Class]Executor{}, remodel: make(chan struct{}, 1),
	}
	d.view.Store(&role.Notice{})
	if err := os.MkdirAll(filepath.Join(d.dir, "out"), 0o700); err != nil {
		return nil, fmt.Errorf("compute: %w", err)
	}
	var err error
	if d.books, err = openBooks(filepath.Join(d.dir, journalName)); err != nil {
		return nil, err
	}
	d.openChecks()
	d.links = link.NewClient(host.TLS(), func(ctx context.Context, network, address string) (net.Conn, error) {
		return role.DialDevice(ctx, d.cfg.Private, network, address)
	})
	if d.inputs, err = spool.OpenInputs(filepath.Join(d.dir, "in"), d.cfg.Disk/2); err != nil {
		return nil, errors.Join(err, d.close())
	}
	list, lacks, err := d.cfg.Open(filepath.Join(d.dir, "run"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("compute: %w", err), d.close())
	}
	for _, l := range lacks {
		d.log.Warn("compute: the machine lacks something to run strangers' code with", "name", l.Name, "lack", l.Text)
		p.remark("lack "+l.Name, role.Remark{Reason: compute.Policy, Text: l.Text, Try: "Jobs of that kind are not offered until the machine has it."})
	}
	for _, e := range list {
		if d.cfg.Prices[e.Class()] > 0 {
			d.executors[e.Class()] = e
		}
	}
	if d.cfg.Models != nil {
		if err := d.offerModels(*d.cfg.Models); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	if err := errors.Join(d.load(), d.sweep(), d.sweepJobs()); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// sweep removes the outputs that a crash left of jobs that were forgotten, or of which gateways have them.
func (d *device) sweep() error {
	list, err := os.ReadDir(filepath.Join(d.dir, "out"))
	if err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	known := map[string]bool{}
	for h, j := range d.jobs {
		known[h.String()] = !j.record.Kept
	}
	for _, e := range list {
		if !known[e.Name()] {
			if err := os.RemoveAll(filepath.Join(d.dir, "out", e.Name())); err != nil {
				return fmt.Errorf("compute: %w", err)
			}
		}
	}
	return nil
}

func (d *device) close() error {
	d.links.Close()
	var errs []error
	for _, j := range d.jobs {
		if j.out != nil {
			errs = append(errs, j.out.Close())
		}
	}
	for _, e := range d.executors {
		if c, ok := e.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(append(errs, d.books.close())...)
}

// load reads the journal.
func (d *device) load() error {
	return d.books.db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(goneBucket).ForEach(func(k, _ []byte) error {
			if len(k) == len(types.SessionID{}) {
				d.gone[types.SessionID(k)] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = all(tx, trustBucket, nil, nil, func(k []byte, t *trust) (bool, error) {
			d.accounts[types.Account(k)] = &account{id: types.Account(k), trust: *t, sessions: map[*session]bool{}}
			return true, nil
		})
		if err != nil {
			return err
		}
		err = all(tx, sessionBucket, nil, nil, func(k []byte, t *tab) (bool, error) {
			key, err := parseSessionKey(k)
			if err != nil {
				return false, err
			}
			s := &session{key: key, tab: *t, class: t.Class, written: true, last: time.Now(), account: d.account(t.Account)}
			if s.ask, err = receipt.DecodeAsk(t.Ask, d.chain); err != nil {
				return false, err
			}
			if len(t.Receipt) > 0 {
				if s.newest, err = receipt.Decode(t.Receipt, d.chain); err != nil {
					return false, err
				}
			}
			d.sessions[key], d.ids[key.id], s.account.sessions[s] = s, key.payer, true
			return true, nil
		})
		if err != nil {
			return err
		}
		return all(tx, jobBucket, nil, nil, func(k []byte, r *record) (bool, error) {
			return true, d.loadJob(tx, types.Hash(k), r)
		})
	})
}

// account returns an account, which begins if it is not known. d.mu is held, or nobody else has d yet.
func (d *device) account(id types.Account) *account {
	a := d.accounts[id]
	if a == nil {
		a = &account{id: id, sessions: map[*session]bool{}, trust: trust{Window: firstTrust}}
		d.accounts[id] = a
	}
	return a
}

// loadJob takes a job out of the journal.
func (d *device) loadJob(tx *bbolt.Tx, hash types.Hash, r *record) error {
	call, err := compute.DecodeCall(bytes.Clone(tx.Bucket(callBucket).Get(hash[:])))
	if err != nil {
		return fmt.Errorf("compute: journal: order %v: %w", hash, err)
	}
	s := d.sessions[sessionKey{call.Order.Order.Payer, call.Order.Order.Session}]
	if s == nil {
		return fmt.Errorf("compute: journal: order %v without its session", hash)
	}
	j := d.newJob(call, hash, s)
	close(j.accepted)
	j.record, j.again = *r, r.Started
	for _, in := range j.external {
		if d.inputs.Pin(in.Hash) {
			j.fetched[in.Hash] = true
		}
	}
	s.jobs++
	s.account.jobs++
	d.jobs[hash] = j
	d.refer(j)
	if !r.Kept {
		d.enlist(j)
	}
	if len(r.Ended) == 0 {
		s.live = j
		d.hold(j)
		return nil
	}
	if !r.Kept {
		if j.ended, err = compute.DecodeEnded(r.Ended); err != nil { // of another version: the gateway finds another device
			d.log.Warn("compute: the end of a job can't be read", "order", hash, "err", err)
			j.record.Kept = true
			d.delist(j)
		}
	}
	if !j.record.Kept {
		j.outBytes = onDisk(d.outDir(hash))
		d.outBytes += j.outBytes
	}
	j.ceased = time.Now()
	d.settle(j)
	close(j.done)
	return nil
}

// onDisk returns how many bytes of outputs a job has on disk.
func onDisk(dir string) (n uint64) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0 // there are none
	}
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			n += uint64(info.Size())
		}
	}
	return n
}

// resume goes on with the jobs that had not come to their end, or whose gateways do not have it, once the epoch
// is known.
func (d *device) resume() func() {
	return sync.OnceFunc(func() {
		d.mu.Lock()
		var list []*job
		for _, j := range d.jobs {
			if !j.record.Kept {
				list = append(list, j)
			}
		}
		d.mu.Unlock()
		for _, j := range list {
			d.start(j)
		}
	})
}

// wake tells who waits that something has changed. d.mu is held.
func (d *device) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// now is the current epoch, 0 before the first notice.
func (d *device) now() types.Epoch { return d.view.Load().Epoch }

// tallied is the epoch of the last tally.
func (d *device) tallied() types.Epoch { return d.view.Load().Tallied }

// least is what opens a session.
func (d *device) least() types.Credit { return d.view.Load().MinOpening }

// idle reports whether nothing has happened in a session for a day: what it is worth below the least opening is
// lost. d.mu is held.
func (d *device) idle(s *session) bool { return s.live == nil && s.Seen+askEpochs < d.now() }

// capacity is what the device takes on of a class in an epoch.
func (d *device) capacity(class types.Class) types.U128 {
	return types.Mul64(uint64(d.cfg.Slots), compute.Slot(class))
}
