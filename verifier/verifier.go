package verifier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
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
	// Version is the version of the rules that this program computes: 1. Under another one it takes in and
	// watches, but signs nothing.
	Version uint32
	Log     *slog.Logger
}

// Verifier is the engine: its parts, put together. It has neither state nor lock of its own. Its loops can be
// paused and stepped by tests.
type Verifier struct {
	// Clock moves intake on with each block, Rounds leads and signs, Follow recomputes what the chain took,
	// Guard votes and appeals, Notices tells devices.
	Clock, Rounds, Follow, Guard, Notices Cycle

	*self
	ledger   ledger.Ledger
	clock    *clock
	mempools *mempools
	intake   *intake
	archive  *archive
	rounds   *rounds
	watch    *watch
	query    *query
	notices  *notices
	news     chan struct{} // wakes Rounds
}

// self is who a verifier is, as all its parts know it. It never changes.
type self struct {
	cfg   Config
	key   types.Key // the public part of Config.Key
	chain string
	bus   bus.Bus
	log   *slog.Logger
}

// New opens a verifier's folder and reads its logs. categories are the rules of all categories of the network.
// The verifier owns neither ledger nor link, which outlive it.
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
	key := cfg.Key.Public()
	me := &self{cfg: cfg, key: key, chain: l.Chain(), bus: link, log: cfg.Log.With("verifier", key.String()[8:16])}
	v := &Verifier{self: me, ledger: l, news: make(chan struct{}, 1)}
	if v.archive, err = openArchive(cfg.Dir, me.chain, cfg.Region); err != nil {
		return nil, err
	}
	book := newRuleBook(categories)
	if v.mempools, err = openMempools(cfg.Dir, me.chain, book, me.log); err != nil {
		v.archive.close()
		return nil, err
	}
	abstains := &abstentions{why: map[types.Epoch]string{}}
	v.intake = newIntake(me, book, v.mempools)
	v.clock = &clock{self: me, ledger: l, archive: v.archive, abstains: abstains, turn: v.intake.turn, epochs: map[types.Epoch]*ledger.Epoch{}}
	a := &agreement{
		self: me, ledger: l, rules: rules, book: book, pool: Parallel(cfg.Workers), clock: v.clock, mempools: v.mempools, archive: v.archive,
		messages: newMessages(me.chain, cfg.Region, v.clock, func() { agent.Poke(v.news) }), abstains: abstains,
		sender:   &sender{self: me, ledger: l, pending: map[string]types.Epoch{}},
		computed: map[types.Hash]*computed{}, declined: map[types.Hash]bool{},
	}
	v.rounds = &rounds{agreement: a}
	v.watch = &watch{agreement: a, doubts: map[types.Hash]doubt{}}
	v.query = newQuery(me, l, v.clock, v.archive, book)
	v.notices = &notices{self: me, ledger: l, clock: v.clock, archive: v.archive}
	return v, nil
}

// Close closes the folder. Run must have returned.
func (v *Verifier) Close() error { return errors.Join(v.mempools.close(), v.archive.close()) }

// Run works until ctx ends. It returns nil then, and an error only if it cannot start.
func (v *Verifier) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v.clock.start(ctx)
	if err := v.rounds.messages.listen(ctx, v.bus); err != nil {
		return err
	}
	if err := v.query.listen(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range v.clock.views.Watch(ctx) { // after intake, which closes the mempool that a round is about
			agent.Poke(v.news)
		}
	})
	wg.Go(func() { run(ctx, &v.Clock, v.ledger.Watch(ctx), v.clock.tick) })
	wg.Go(func() { run(ctx, &v.Rounds, v.news, func(ctx context.Context, _ struct{}) { v.rounds.step(ctx) }) })
	wg.Go(func() { run(ctx, &v.Follow, v.ledger.Watch(ctx), v.watch.follow) })
	wg.Go(func() { run(ctx, &v.Guard, v.ledger.Watch(ctx), v.watch.guard) })
	wg.Go(func() { run(ctx, &v.Notices, v.ledger.Watch(ctx), v.notices.tell) })
	err := v.intake.run(ctx)
	if err != nil {
		cancel()
	}
	wg.Wait()
	v.rounds.sender.sending.Wait()
	return err
}

// Key returns the attestation key.
func (v *Verifier) Key() types.Key { return v.key }

// Stats returns what was counted since the start.
func (v *Verifier) Stats() Stats {
	s := v.intake.stats()
	s.Signed = v.rounds.signed.Load()
	return s
}

// Abstained returns the epochs whose headers this verifier cannot check at present, oldest first, and why: for
// pages and doctors.
func (v *Verifier) Abstained() []Abstention { return v.rounds.abstains.list() }

// View returns the registry as of the present epoch's start: what its tally will see. Of another epoch it is
// wrong_epoch: this verifier has not seen the epoch begin yet, or the one after it has begun.
func (v *Verifier) View(_ context.Context, e types.Epoch) (tally.Registry, error) {
	now := v.clock.now()
	if now == nil || now.epoch.Epoch != e {
		return nil, types.Refuse(types.WrongEpoch, "verifier: the registry of epoch %d", e)
	}
	return now.registry, nil
}

// Report returns the report of a header that this verifier computed and still keeps; unknown_blob otherwise. It
// is read-only.
func (v *Verifier) Report(header types.Hash) (*Report, error) { return v.query.report(header) }

// Proof returns what claims a device's amount: its leaf of the newest final header, or of the newest accepted
// one, which cannot be claimed yet. not_final if there is no such header; unknown_author if the device has no
// line in it.
func (v *Verifier) Proof(ctx context.Context, device types.Key, accepted bool) (ledger.Claim, error) {
	return v.query.proof(ctx, device, accepted)
}

// ProofOf is Proof by a header of the caller's choice, whose state this verifier still keeps.
func (v *Verifier) ProofOf(device types.Key, h *ledger.Header) (ledger.Claim, error) {
	return v.query.proofOf(device, h)
}

// WriteBundle writes the file of what the header of an epoch was made from, out of what this verifier keeps,
// and holds no more than a piece of it in memory. The reason is unknown_blob, before anything is written, if it
// is not kept. What is written is checked by whoever reads it.
func (v *Verifier) WriteBundle(ctx context.Context, e types.Epoch, w io.Writer) error {
	return v.query.writeBundle(ctx, e, w)
}

// Bundle is WriteBundle in memory.
func (v *Verifier) Bundle(ctx context.Context, e types.Epoch) (*Bundle, error) {
	var b bytes.Buffer
	if err := v.WriteBundle(ctx, e, &b); err != nil {
		return nil, err
	}
	return ParseBundle(b.Bytes())
}
