package customer

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/compute/customer/registry"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// Config bounds a customer. Zero values stand for the defaults.
type Config struct {
	Inputs   uint64        // bytes of inputs; default 8 GiB. What no job uses makes room, first that of who has most. The jobs of an account may use a quarter.
	Outputs  uint64        // bytes of outputs of jobs that have ended; default 16 GiB. The oldest of who has most make room.
	Jobs     int           // that have not ended, of all accounts together; default 4,096. One account gets a quarter.
	Kept     int           // jobs of an account that are kept after their end; default 1,024. The oldest make room.
	Keep     time.Duration // for how long they are kept at most; default a week
	Devices  int           // connections of devices; default 1,024
	Modules  int           // whose validity is remembered; default 1,024
	Patience time.Duration // that a device of before a restart gets to dial in; default 30 s

	step func(string) // tests stop the customer here
}

func (c *Config) at(name string) {
	if c.step != nil {
		c.step(name)
	}
}

const (
	maxKept    = 1 << 16 // jobs of all accounts that are kept after their end
	sweepEvery = 10 * time.Minute
)

// Customer is compute at a gateway, for all of its wallets.
type Customer struct {
	cfg     Config
	began   time.Time
	market  role.Market
	log     *slog.Logger
	books   *books
	book    *match.Book
	shelves *shelves // of class model
	inputs  *spool.Inputs
	link    *link.Server
	listen  net.Listener
	images  *registry.Registry
	pushes  net.Listener // to images
	// address is where devices reach link, as orders say.
	address    string
	background sync.WaitGroup
	ctx        context.Context // of jobs; ends with Run
	stop       context.CancelFunc
	modules    *modules
	ready      chan struct{} // closed when the jobs of before a restart are known

	mu         sync.Mutex // guards what follows
	running    map[ID]*job
	orders     map[types.Hash]expected
	paying     map[sessionOf]*sessions
	perAccount map[types.Account]int    // jobs that have not ended
	keys       map[string]bool          // idempotency keys of jobs that are being submitted
	pinned     map[types.Account]uint64 // bytes that these jobs read
	coming     map[types.Account]uint64 // bytes of files that these jobs left, and for which there is room
	idle       map[leaseOf][]*job       // of class model, those that nobody asks anything now, the newest last
	leases     map[types.Account]int    // of class model
	reached    map[types.Account]int    // connections to containers
	reachedAll int

	quiet *log.Logger // for what servers in containers do wrong

	kept   atomic.Uint64 // bytes of outputs of jobs that have ended, as of the last sweep and those that ended since
	sweeps chan struct{} // holds one when that is more than there may be

	questions chan role.Called // what verifiers call

	queued  atomic.Int64 // bytes of models' answers that wait for customers
	reading atomic.Int64 // and of requests that are being read or sent
}

// New returns the customer's side of compute.
func New(cfg Config) *Customer {
	def := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	def(&cfg.Jobs, 4096)
	def(&cfg.Kept, 1024)
	def(&cfg.Devices, 1024)
	def(&cfg.Modules, 1024)
	if cfg.Inputs == 0 {
		cfg.Inputs = 8 << 30
	}
	if cfg.Outputs == 0 {
		cfg.Outputs = 16 << 30
	}
	if cfg.Keep == 0 {
		cfg.Keep = 7 * 24 * time.Hour
	}
	if cfg.Patience == 0 {
		cfg.Patience = backAfter
	}
	c := &Customer{
		cfg: cfg, began: time.Now(), running: map[ID]*job{}, orders: map[types.Hash]expected{}, paying: map[sessionOf]*sessions{},
		perAccount: map[types.Account]int{}, pinned: map[types.Account]uint64{}, coming: map[types.Account]uint64{}, keys: map[string]bool{},
		modules: newModules(cfg.Modules), ready: make(chan struct{}), sweeps: make(chan struct{}, 1), questions: make(chan role.Called, 64),
		idle: map[leaseOf][]*job{}, leases: map[types.Account]int{}, reached: map[types.Account]int{}, shelves: &shelves{of: map[string]*shelf{}, by: map[types.Key][]string{}},
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Role returns c as a gateway runs it.
func (c *Customer) Role() role.Customer {
	return role.Customer{
		Category: types.Compute, Mount: c.Mount, Routes: c.allRoutes(), Run: c.Run, Listen: c.Listen, Files: booksIn, Heard: c.heard, Called: c.called,
		BuysFrom:   func(w role.Wallet) ([]types.Key, error) { return c.books.buysFrom(w.Payer()) },
		Bases:      map[string]string{"compute": "", "openai": ""},
		FirstRound: c.FirstRound, Needs: role.Needs{Devices: 1},
		Command: commands, Shortcuts: shortcuts, Tries: []string{"job run FILE.wasm", "market"},
	}
}

// booksIn lists the files that say by themselves whether they are whole.
func booksIn(string) []health.File {
	return []health.File{
		{Path: "jobs.db", Check: health.Bolt, Remedy: health.Aside, Lost: "which jobs there were: their results can't be read any more"},
		{Path: "registry/images.db", Check: health.Bolt, Remedy: health.Aside, Lost: "which images there were: they have to be pushed again"},
	}
}

// Mount opens the books and returns the handler of /compute/v1/.
func (c *Customer) Mount(market role.Market) (http.Handler, error) {
	c.market, c.log = market, market.Log()
	c.quiet = slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails
	c.book, c.shelves.secret = match.NewBook(secret), secret
	dir := market.Dir()
	if err := os.MkdirAll(filepath.Join(dir, "jobs"), 0o700); err != nil {
		return nil, types.Refuse(types.HomeUnwritable, "compute: %v", err)
	}
	key, err := files.EnsureKey(filepath.Join(dir, "link.key"))
	if err != nil {
		return nil, fmt.Errorf("compute: link: %w", err)
	}
	if c.link, err = link.NewServer(types.NewPrivateKey([32]byte(key.Seed())), c, c.log); err != nil {
		return nil, err
	}
	if c.inputs, err = spool.OpenInputs(filepath.Join(dir, "inputs"), c.cfg.Inputs); err != nil {
		return nil, err
	}
	if err := c.openImages(filepath.Join(dir, "registry")); err != nil {
		return nil, err
	}
	if c.books, err = openBooks(filepath.Join(dir, "jobs.db")); err != nil {
		return nil, err
	}
	h := role.Handler(market, c.allRoutes(), compute.New().Spec.Reasons)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-c.ready: // the jobs of before are known
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}), nil
}

// listener is the name of the port to which devices dial.
const listener = "compute_link"

// Listen opens the port to which devices dial, the one of before if it is free.
func (c *Customer) Listen(p role.Place) (map[string]string, error) {
	var err error
	if c.listen, c.address, err = p.Listen(c.market, listener, conns.Limits{Total: c.cfg.Devices, PerAddress: max(c.cfg.Devices/8, 1)}); err != nil {
		return nil, fmt.Errorf("compute: %w", err)
	}
	if at, err := netip.ParseAddrPort(c.address); err == nil && at.Addr().IsUnspecified() {
		c.address = "" // all addresses of this machine are none that an order could name
		c.log.Warn("compute: no jobs are taken, since devices can't be told where to dial: give the gateway's settings a public address, or have it listen on one")
	}
	at, err := c.listenImages(p)
	return map[string]string{listener: c.address, imagesListener: at}, err
}

// Run serves devices, and sees jobs to their end, until ctx ends. Then it closes the books.
func (c *Customer) Run(ctx context.Context) error {
	var group sync.WaitGroup
	served := make(chan error, 1)
	// Before anybody asks for them: of a job that is not known to go on, a reader would take what there is for
	// all, and its device would leave it.
	if err := c.goOn(); err != nil {
		c.log.Error("compute: jobs of before", "err", err)
	}
	close(c.ready)
	if c.listen != nil {
		group.Go(func() { served <- c.link.Serve(ctx, c.listen) })
	}
	if c.pushes != nil {
		group.Go(func() { c.serveImages(ctx) })
	}
	group.Go(func() { c.keepBook(ctx) })
	group.Go(func() { c.listenTo(ctx) })
	group.Go(func() { c.sweepAll(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	c.stop()
	group.Wait()
	c.background.Wait()
	c.mu.Lock()
	for _, j := range c.running {
		err = errors.Join(err, j.out.Close())
	}
	c.mu.Unlock()
	return errors.Join(err, c.books.close(), c.images.Close())
}

// submitted is a job as it was asked for.
type submitted struct {
	name, key string
	want      want
	job       compute.Job
	files     compute.Files
	sizes     []size // each pinned once
}

// submit takes a job on and has a device accept it. What it returns an error for has left nothing behind.
func (c *Customer) submit(ctx context.Context, wallet role.Wallet, s *submitted) (*job, error) {
	account := wallet.Account()
	if err := c.admit(account, sum(s.sizes)); err != nil {
		return nil, err
	}
	j, err := c.newJob(wallet, s)
	if err == nil {
		// Who asked may go away: the order is out by then, and the job goes on.
		if err = c.place(context.WithoutCancel(ctx), j); err == nil {
			c.background.Go(func() { c.follow(c.ctx, j, lostAfter) })
			return j, nil
		}
		c.drop(j)
	}
	c.dismiss(account, sum(s.sizes))
	return nil, &notPlaced{err, j}
}

// admit counts one more job of an account, which reads so many bytes, if that may have one. dismiss takes it back.
func (c *Customer) admit(account types.Account, reads uint64) error {
	if c.address == "" {
		return types.Refuse(role.Busy, "compute: this gateway has no address that devices could dial")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.running); n >= c.cfg.Jobs || c.perAccount[account] >= max(1, c.cfg.Jobs/4) {
		return types.Refuse(role.Busy, "compute: %d jobs have not ended, %d of this account", n, c.perAccount[account])
	}
	if own := c.pinned[account]; own+reads > c.cfg.Inputs/4 {
		return types.Refuse(role.Busy, "compute: the account's jobs that have not ended read %d bytes, %d more would be more than %d", own, reads, c.cfg.Inputs/4)
	}
	c.begun(account, reads)
	return nil
}

func (c *Customer) dismiss(account types.Account, reads uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over(account, reads)
}

// begun counts a job that has not ended, and over does so no longer. c.mu is held.
func (c *Customer) begun(account types.Account, reads uint64) {
	c.perAccount[account]++
	c.pinned[account] += reads
}

func (c *Customer) over(account types.Account, reads uint64) {
	c.pinned[account] -= reads
	if c.perAccount[account]--; c.perAccount[account] == 0 {
		delete(c.perAccount, account)
		delete(c.pinned, account)
	}
}

// sum is how many bytes inputs have.
func sum(list []size) (n uint64) {
	for _, s := range list {
		n += s.Size
	}
	return n
}

// notPlaced is why a job found no device, with what was counted.
type notPlaced struct {
	error
	job *job // nil if it was not looked for one
}

func (n *notPlaced) Unwrap() error { return n.error }

func (c *Customer) newJob(wallet role.Wallet, s *submitted) (*job, error) {
	j := &job{wallet: wallet, more: make(chan struct{}), rec: record{
		ID: newID(), Account: wallet.Account(), Payer: wallet.Payer(), Key: s.key, Name: s.name, Created: time.Now().UnixMilli(), Want: s.want,
		Job: s.job, Files: s.files, Sizes: s.sizes, State: Placing,
	}}
	j.ctx, j.cancel = context.WithCancelCause(c.ctx)
	j.reach = c.newReach(j)
	var err error
	if j.out, err = spool.OpenOutputs(c.dir(j.rec.ID), maxOutput, false); err != nil {
		return nil, types.Refuse(types.HomeUnwritable, "compute: %v", err)
	}
	c.mu.Lock()
	c.running[j.rec.ID] = j
	c.mu.Unlock()
	return j, nil
}

// drop forgets a job that no device has accepted.
func (c *Customer) drop(j *job) {
	c.mu.Lock()
	delete(c.running, j.rec.ID)
	c.mu.Unlock()
	if err := j.out.Remove(); err != nil {
		c.log.Warn("compute: remove outputs", "job", j.rec.ID, "err", err)
	}
}

// goOn takes up the jobs that had not ended when the gateway was stopped.
func (c *Customer) goOn() error {
	wallets := map[types.Key]role.Wallet{}
	for _, w := range c.market.Wallets() {
		wallets[w.Payer()] = w
	}
	var open []*record
	if err := c.books.each(types.Account{}, func(r *record) {
		if !r.State.Ended() {
			open = append(open, r)
		}
	}); err != nil {
		return err
	}
	for _, r := range open {
		out, err := spool.OpenOutputs(c.dir(r.ID), maxOutput, false)
		if err != nil {
			c.log.Error("compute: a job of before", "job", r.ID, "err", err)
			continue
		}
		j := &job{wallet: wallets[r.Payer], more: make(chan struct{}), rec: *r, out: out}
		j.ctx, j.cancel = context.WithCancelCause(c.ctx)
		j.reach = c.newReach(j)
		for _, s := range r.Sizes {
			c.inputs.Pin(s.Hash)
		}
		if n := len(r.Tries); n > 0 && j.wallet != nil {
			t := &j.rec.Tries[n-1]
			l, err := c.resume(sessionOf{r.Payer, t.Device, compute.ClassOf(r.Job.Profile)}, t.Session, c.market.Notice().Epoch)
			if err != nil {
				j.over = err
			} else {
				if units, err := l.session.Units.Sub(t.Units); err == nil {
					j.paid, _ = units.Uint64()
				}
				j.rec.Paid += l.session.Amount - t.Amount - t.Paid
				j.line, t.Paid = l, l.session.Amount-t.Amount
				c.expect(j, t.Order, t.Device)
			}
		}
		c.mu.Lock()
		c.running[r.ID] = j
		c.begun(r.Account, sum(r.Sizes))
		c.mu.Unlock()
		if j.wallet == nil {
			c.fail(j, types.Refuse(types.UnknownKey, "compute: the gateway has no key %v of the account any more", r.Payer))
			continue
		}
		if compute.ClassOf(r.Job.Profile) == compute.Model { // whoever asked is gone with the gateway that was
			j.talk = c.newTalk(j)
			j.cancel(errCancelled)
			c.mu.Lock()
			c.leases[r.Account]++
			c.mu.Unlock()
			c.background.Go(func() { c.attend(j, c.cfg.Patience) })
			continue
		}
		c.background.Go(func() { c.follow(c.ctx, j, c.cfg.Patience) })
	}
	return nil
}

// find returns a job of an account that has not ended, nil for none.
func (c *Customer) find(account types.Account, id ID) *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.running[id]; j != nil && j.rec.Account == account { // never changes
		return j
	}
	return nil
}

// record returns a job of an account as it is.
func (c *Customer) record(account types.Account, id ID) (*record, error) {
	if j := c.find(account, id); j != nil {
		rec, _ := j.snapshot()
		return &rec, nil
	}
	return c.books.get(account, id)
}

func (c *Customer) removeOutputs(id ID) error { return os.RemoveAll(c.dir(id)) }

// sweepAll forgets old jobs, now and then, until ctx ends.
func (c *Customer) sweepAll(ctx context.Context) {
	for {
		if err := errors.Join(c.sweep(), c.books.forgetClaims(c.market.Notice().Epoch), c.images.Sweep()); err != nil {
			c.log.Warn("compute: forget old jobs", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		case <-c.sweeps:
		}
	}
}

// keeps counts the outputs of one more job that has ended.
func (c *Customer) keeps(n uint64) {
	if c.kept.Add(n) > c.cfg.Outputs {
		select {
		case c.sweeps <- struct{}{}:
		default:
		}
	}
}

// share is how many bytes each may have at most, if all that some have is not to be more than most together.
func share(has map[types.Account]uint64, most uint64) uint64 {
	list := slices.Sorted(maps.Values(has))
	for i, n := range list {
		if each := most / uint64(len(list)-i); n > each {
			return each
		}
		most -= n
	}
	return ^uint64(0)
}

// sweep forgets what ended too long ago, of each account the oldest beyond what is kept of one, of all together
// the oldest beyond what is kept in number, and beyond what is kept in bytes the oldest of those who have most.
func (c *Customer) sweep() error {
	var ended []*record
	if err := c.books.each(types.Account{}, func(r *record) {
		if r.State.Ended() {
			ended = append(ended, r)
		}
	}); err != nil {
		return err
	}
	slices.SortFunc(ended, func(a, b *record) int { return cmp.Compare(b.Ended, a.Ended) }) // the newest first
	var errs []error
	var stay []*record
	drop := func(r *record) { errs = append(errs, c.removeOutputs(r.ID), c.books.forget(r)) } // killed in between, it does both again
	of, has := map[types.Account]int{}, map[types.Account]uint64{}
	oldest := time.Now().Add(-c.cfg.Keep).UnixMilli()
	for _, r := range ended {
		if r.Ended < oldest || of[r.Account] >= c.cfg.Kept || len(stay) >= maxKept {
			drop(r)
			continue
		}
		of[r.Account]++
		has[r.Account] += r.Bytes
		stay = append(stay, r)
	}
	most, all := share(has, c.cfg.Outputs), uint64(0)
	clear(has)
	for _, r := range stay {
		if r.Bytes > most-has[r.Account] {
			drop(r)
			continue
		}
		has[r.Account] += r.Bytes
		all += r.Bytes
	}
	c.kept.Store(all)
	return errors.Join(errs...)
}
