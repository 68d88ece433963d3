package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Config of a verifier. Zero values take the defaults that are named.
type Config struct {
	Dir    string // where it keeps everything; one process at a time
	Region types.Region
	Key    types.PrivateKey // attestation key, as the chain knows it; the bus link is this key's
	VRF    types.PrivateKey
	// Account sends commits, appeals, votes and reports, and pays their fees. The ledger holds its key.
	Account types.Account
	// Appeal lets it put up an appeal's bond. Without it, it still votes.
	Appeal bool
	// Keep is for how many epochs beyond finality batches and states are kept: 168, a week of hours.
	Keep types.Epoch
	// Workers is how many goroutines check signatures and compute tallies: one per core.
	Workers int
	// Version is the version of the rules that this program computes: 1. Under another one it takes in and watches, but signs
	// nothing.
	Version uint32
	Log     *slog.Logger
}

// Verifier is the engine. Its loops can be paused and stepped by tests.
type Verifier struct {
	// Clock moves intake on with each block, Rounds leads and signs, Follow recomputes what the chain took, Guard votes and appeals,
	// Notices tells devices.
	Clock, Rounds, Follow, Guard, Notices Cycle

	cfg    Config
	key    types.Key
	chain  string
	ledger ledger.Ledger
	bus    bus.Bus
	log    *slog.Logger
	rules  *tally.Rules
	book   *ruleBook
	pool   tally.Pool

	store    *store
	made     recent // lines that were asked for
	intake   *intake
	messages *messages
	news     chan struct{} // wakes Rounds

	mu       sync.Mutex // guards all below
	mempools map[types.Epoch]*mempool
	states   map[types.Hash]*tally.State // by header; the zero hash is the state before the first
	past     map[types.Hash]*tally.State // read for answers, by header; at most keptStates
	computed map[types.Hash]*computed    // not adopted yet, by header
	faults   map[types.Hash]error        // headers that are not what their inputs give, or whose inputs nobody has
	missing  map[types.Hash]uint64       // headers whose inputs nobody had, since which block
	abstains map[types.Epoch]string      // headers that it cannot check for a reason of its own, and why
	declined map[types.Hash]bool         // proposals that left out what was acknowledged; they are not signed late either
	sets     map[types.Epoch]*ledger.Epoch
	results  map[types.Hash]*Report // newest few
	trees    map[types.Hash]*tally.Tree
	provers  map[types.Hash]*tally.Prover
	outputs  map[types.Hash]*outputs
	pending  map[string]types.Epoch // transactions on their way or done

	newest  atomic.Uint64  // epoch that Clock has seen a block of
	sending sync.WaitGroup // transactions on their way
	loading sync.Mutex     // held while outputs and states are read for answers; taken before mu

	round  *round      // owned by Rounds
	pruned types.Epoch // owned by Guard
}

// New opens a verifier's folder and reads its logs. categories are the rules of all categories of the network. The verifier
// owns neither ledger nor link, which outlive it.
func New(cfg Config, l ledger.Ledger, link bus.Bus, categories []tally.Verifier) (*Verifier, error) {
	if cfg.Keep == 0 {
		cfg.Keep = 168
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Version == 0 {
		cfg.Version = 1
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	rules, err := tally.NewRules(cfg.Version, categories...)
	if err != nil {
		return nil, err
	}
	st, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	v := &Verifier{
		cfg: cfg, key: cfg.Key.Public(), chain: l.Chain(), ledger: l, bus: link, log: cfg.Log.With("verifier", cfg.Key.Public().String()[8:16]),
		rules: rules, book: newRuleBook(categories), pool: Parallel(cfg.Workers), store: st, news: make(chan struct{}, 1),
		mempools: map[types.Epoch]*mempool{}, states: map[types.Hash]*tally.State{{}: tally.NewState(l.Chain(), cfg.Region)},
		past: map[types.Hash]*tally.State{}, computed: map[types.Hash]*computed{}, faults: map[types.Hash]error{}, declined: map[types.Hash]bool{}, missing: map[types.Hash]uint64{},
		abstains: map[types.Epoch]string{}, sets: map[types.Epoch]*ledger.Epoch{},
		results: map[types.Hash]*Report{}, trees: map[types.Hash]*tally.Tree{}, provers: map[types.Hash]*tally.Prover{},
		outputs: map[types.Hash]*outputs{}, pending: map[string]types.Epoch{},
	}
	v.intake = newIntake(v.chain, cfg.Region, cfg.Key, link, v.book, cfg.Workers, v.log)
	v.messages = newMessages(v.chain, cfg.Region)
	v.messages.height = func() uint64 {
		if now := v.intake.now.Load(); now != nil {
			return now.head.Height
		}
		return 0
	}
	v.messages.member = v.member
	v.messages.wake = func() {
		select {
		case v.news <- struct{}{}:
		default:
		}
	}
	if err := v.openMempools(); err != nil {
		st.close()
		return nil, err
	}
	return v, nil
}

// Close closes the folder. Run must have returned.
func (v *Verifier) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, b := range v.mempools {
		errs = append(errs, b.close())
	}
	return errors.Join(append(errs, v.store.close())...)
}

// Key returns the attestation key.
func (v *Verifier) Key() types.Key { return v.key }

// Run works until ctx ends. It returns nil then, and an error only if it cannot start.
func (v *Verifier) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v.start(ctx)
	if err := v.messages.listen(ctx, v.bus); err != nil {
		return fmt.Errorf("verifier: listen to the others: %w", err)
	}
	if err := bus.ServeBlobs(ctx, v.bus, served{v.store, &v.made}); err != nil {
		return fmt.Errorf("verifier: serve blobs: %w", err)
	}
	if err := v.answerQueries(ctx); err != nil {
		return fmt.Errorf("verifier: answer queries: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx, &v.Clock, v.ledger.Watch(ctx), v.tick) })
	wg.Go(func() { run(ctx, &v.Follow, v.ledger.Watch(ctx), v.follow) })
	wg.Go(func() { run(ctx, &v.Guard, v.ledger.Watch(ctx), v.guard) })
	wg.Go(func() { run(ctx, &v.Notices, v.ledger.Watch(ctx), v.notify) })
	wg.Go(func() { run(ctx, &v.Rounds, v.roundEvents(ctx), func(ctx context.Context, _ struct{}) { v.step(ctx) }) })
	err := v.intake.run(ctx)
	if err != nil {
		cancel()
	}
	wg.Wait()
	v.sending.Wait()
	return err
}

// roundEvents merges blocks and what others said.
func (v *Verifier) roundEvents(ctx context.Context) <-chan struct{} {
	out := make(chan struct{})
	blocks := v.ledger.Watch(ctx)
	go func() {
		defer close(out)
		for {
			select {
			case _, ok := <-blocks:
				if !ok {
					return
				}
			case <-v.news:
			case <-ctx.Done():
				return
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// openMempools reads the logs that are on disk.
func (v *Verifier) openMempools() error {
	paths, err := filepath.Glob(filepath.Join(v.cfg.Dir, "intake-*.log"))
	if err != nil {
		return fmt.Errorf("verifier: list the logs: %w", err)
	}
	for _, path := range paths {
		var e types.Epoch
		if _, err := fmt.Sscanf(filepath.Base(path), "intake-%d.log", &e); err != nil || path != mempoolPath(v.cfg.Dir, e) {
			continue
		}
		if v.mempools[e], err = openMempool(v.cfg.Dir, e, v.chain, v.book, v.log); err != nil {
			return err
		}
	}
	return nil
}

// mempool returns the mempool of an epoch, which it makes if create is set; nil if there is none.
func (v *Verifier) mempool(e types.Epoch, create bool) (*mempool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mempools[e] == nil && create {
		b, err := openMempool(v.cfg.Dir, e, v.chain, v.book, v.log)
		if err != nil {
			return nil, err
		}
		v.mempools[e] = b
	}
	return v.mempools[e], nil
}

// epoch returns an epoch's timetable. What is fixed in it is remembered for those that have a seed.
func (v *Verifier) epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error) {
	v.mu.Lock()
	ep := v.sets[e]
	v.mu.Unlock()
	if ep != nil {
		return ep, nil
	}
	ep, err := v.ledger.Epoch(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("verifier: epoch %d: %w", e, err)
	}
	if !ep.Seed.IsZero() {
		v.mu.Lock()
		v.sets[e] = ep
		for old := range v.sets {
			if old+8 < e {
				delete(v.sets, old)
			}
		}
		v.mu.Unlock()
	}
	return ep, nil
}

// member reports whether a key has power in an epoch. Of one that is far away the chain is not even asked.
func (v *Verifier) member(e types.Epoch, key types.Key) bool {
	if newest := types.Epoch(v.newest.Load()); newest != 0 && e > newest+1 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ep, err := v.epoch(ctx, e)
	if err != nil {
		return false
	}
	for i := range ep.Verifiers {
		if ep.Verifiers[i].Key == key {
			return ep.Verifiers[i].Power > 0
		}
	}
	return false
}

// tick moves intake on to a block.
func (v *Verifier) tick(ctx context.Context, head ledger.Block) {
	if err := v.advance(ctx, head); err != nil && ctx.Err() == nil {
		v.log.Error("intake stands still", "height", head.Height, "error", err)
		if head.Epoch > 1 {
			v.unable(head.Epoch-1, err) // which it closes only then
		}
	}
}

func (v *Verifier) advance(ctx context.Context, head ledger.Block) error {
	if head.Height == 0 { // triggered before the first block was seen
		var err error
		if head, err = v.ledger.Head(ctx); err != nil {
			return err
		}
	}
	v.newest.Store(uint64(head.Epoch))
	old := v.intake.now.Load()
	if old != nil && old.head.Height >= head.Height {
		return nil
	}
	ep, err := v.epoch(ctx, head.Epoch)
	if err != nil {
		return err
	}
	now := &headView{head: head, epoch: ep}
	var known []tally.BlockHash
	if old != nil {
		known = old.blocks
	}
	if now.blocks, err = recentBlocks(ctx, v.ledger, head, evidence.MaxAnchorAge+1, known); err != nil {
		return err
	}
	p, err := readPath(ctx, v.ledger, v.cfg.Region, head.Epoch)
	if err != nil {
		return err
	}
	if p.tip != nil {
		now.last = p.tip.Epoch
	}
	if old != nil && old.epoch.Epoch == ep.Epoch {
		now.registry = old.registry
		v.bound(now.last, ep.Epoch)
		v.intake.now.Store(now)
		return nil
	}
	base := v.newestState(p)
	if base == nil {
		return errors.New("no state yet: catching up")
	}
	changes, err := changesSince(ctx, v.ledger, base.Epoch(), ep.Epoch, v.cfg.Region)
	if err != nil {
		return err
	}
	now.registry = newRegistry(base, changes)
	next, err := v.mempool(ep.Epoch, true)
	if err != nil {
		return err
	}
	before, err := v.mempool(ep.Epoch-1, false)
	if err != nil {
		return err
	}
	v.bound(now.last, ep.Epoch)
	v.intake.roll(now, next, before)
	v.messages.wake()
	return nil
}

// bound lets the mempool of epoch e grow as far as what lasts of the epochs after the region's last header leaves room in one batch.
func (v *Verifier) bound(last, e types.Epoch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	room := maxMempool
	for k, b := range v.mempools {
		if k > last && k < e {
			b.mu.RLock()
			room -= b.lasting
			b.mu.RUnlock()
		}
	}
	if b := v.mempools[e]; b != nil {
		b.bound(room)
	}
}

// newestState returns the newest state that is known on the region's path, nil if there is none.
func (v *Verifier) newestState(p *path) *tally.State {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, h := range p.headers {
		if st := v.states[h.Hash]; st != nil {
			return st
		}
	}
	if p.complete {
		return v.states[types.Hash{}]
	}
	return nil
}

// maxPending bounds the names of transactions that are remembered.
const maxPending = 1024

// submit sends a transaction about an epoch in the background, once at a time for each name, and does not repeat what succeeded.
func (v *Verifier) submit(ctx context.Context, e types.Epoch, name string, msgs ...ledger.Msg) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.pending[name]; ok || len(v.pending) >= maxPending {
		return
	}
	for old, of := range v.pending {
		if of+pathStep < e {
			delete(v.pending, old)
		}
	}
	v.pending[name] = e
	v.sending.Go(func() {
		_, err := v.ledger.Submit(ctx, v.cfg.Account, msgs...)
		if err == nil {
			v.log.Info("transaction taken", "what", name)
			return // stays in pending: it is done
		}
		v.log.Info("transaction refused", "what", name, "error", err)
		v.mu.Lock()
		delete(v.pending, name)
		v.mu.Unlock()
	})
}
