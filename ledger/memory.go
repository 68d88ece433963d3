package ledger

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/latest"
)

// Config is the genesis of a Memory. Zero fields take the values of `cairn up`.
type Config struct {
	Chain     string
	Regions   uint16      // 1
	Blocks    uint64      // N, blocks of an epoch: 20
	Window    types.Epoch // epochs in which a header can be appealed: 1
	Vote      uint64      // V, blocks of a vote: N/2
	Interval  time.Duration
	Genesis   time.Time // of block 1
	Rules     uint32
	Price     uint64 // nUSD per STONE, fixed: 500,000,000
	Econ      econ.Params
	Params    []tally.Params // ascending by category
	Opening   types.Credit   // least first payment of a session: 1
	Balances  map[types.Account]types.Ustone
	Verifiers []tally.Attester  // their Power is bonded stake in STONE
	Modules   map[string]Module // what categories add, by protobuf package ("cairn.certificate.v1"); none
}

// Memory is a chain without consensus: exact money, blocks made by hand (Advance) or by a clock (Run). A transaction
// takes effect at once, as part of the block that comes next. It is safe for concurrent use.
//
// It differs from the real chain in that nobody signs transactions, nothing costs fees, the price is fixed, and
// stake is a number per verifier (SetStake) that no account can move.
type Memory struct {
	cfg Config

	mu      sync.Mutex // guards all below
	blocks  []Block    // blocks[i] has height i+1
	epochs  map[types.Epoch]*Epoch
	views   map[types.Epoch][]tally.Attester // as each epoch's view says, ascending by key
	changes map[types.Epoch][][]tally.Change // by region
	newest  latest.Value[Block]              // of blocks
	state   *state
}

var _ Ledger = (*Memory)(nil)

// state is all that transactions change. Its values are replaced, never written through, so that a shallow copy
// of the maps is a snapshot.
type state struct {
	balances  map[types.Account]types.Ustone
	devices   map[types.Key]device
	grants    map[types.Key]Grant
	holders   map[holder]types.Credit
	verifiers map[types.Account]validator
	taken     map[types.Key]types.Account // attestation and VRF keys, whose they are

	claimed map[types.Key]types.Ustone
	headers map[place]record
	settled map[types.Epoch]tally.Settlement
	seeds   map[types.Epoch]types.Hash
	last    []types.Epoch // by region, of its newest header that was not voided

	modules map[string]Module

	vault econ.Vault
	day   econ.Day
	books books

	dirty dirty
}

// place is where a header stands.
type place struct {
	region types.Region
	epoch  types.Epoch
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.region, b.region), cmp.Compare(a.epoch, b.epoch))
}

// holder is an account in one region.
type holder struct {
	account types.Account
	region  types.Region
}

// books are the chain's module accounts and counters, in ustone.
type books struct {
	genesis, minted, burned types.Ustone
	bonds                   types.Ustone // of devices
	appeals                 types.Ustone // bonds of open appeals
	stake                   types.Ustone // of verifiers
	community, security     types.Ustone
	pending, matured, dust  types.Ustone // escrow: before finality, claimable, left by rounding
	paid                    types.Ustone // claimed, ever
}

type device struct {
	Device
	unbonding types.Epoch // 0: no
	freed     bool        // its bond went back
}

// validator is a verifier and its stake.
type validator struct {
	tally.Attester
	stake      types.Ustone
	jailed     bool
	tombstoned bool
	missed     []bool // of the last 100 headers, newest last
}

// stone is one STONE: the stake that gives a power of 1.
const stone = 1_000_000

func (v *validator) power() uint64 {
	if v.jailed || v.tombstoned {
		return 0
	}
	return uint64(v.stake) / stone
}

// dirty is what changed since the last registry view.
type dirty struct {
	devices   map[types.Key]bool // true: removed
	grants    map[types.Key]bool
	holders   map[holder]bool
	verifiers map[types.Key]types.Account
}

func newDirty() dirty {
	return dirty{map[types.Key]bool{}, map[types.Key]bool{}, map[holder]bool{}, map[types.Key]types.Account{}}
}

func (s *state) clone() *state {
	c := *s
	c.balances, c.devices, c.grants = maps.Clone(s.balances), maps.Clone(s.devices), maps.Clone(s.grants)
	c.holders, c.verifiers, c.taken = maps.Clone(s.holders), maps.Clone(s.verifiers), maps.Clone(s.taken)
	c.modules = map[string]Module{}
	for pkg, m := range s.modules {
		c.modules[pkg] = m.Clone()
	}
	c.last = slices.Clone(s.last)
	c.claimed, c.headers, c.settled, c.seeds = maps.Clone(s.claimed), maps.Clone(s.headers), maps.Clone(s.settled), maps.Clone(s.seeds)
	c.dirty = dirty{maps.Clone(s.dirty.devices), maps.Clone(s.dirty.grants), maps.Clone(s.dirty.holders), maps.Clone(s.dirty.verifiers)}
	return &c
}

// New returns a chain at block 1, the first of epoch 1. It panics on a configuration that cannot run: a mistake
// in a test.
func New(cfg Config) *Memory {
	cfg.defaults()
	s := &state{
		balances: map[types.Account]types.Ustone{}, devices: map[types.Key]device{}, grants: map[types.Key]Grant{},
		holders: map[holder]types.Credit{}, verifiers: map[types.Account]validator{}, taken: map[types.Key]types.Account{},
		claimed: map[types.Key]types.Ustone{}, headers: map[place]record{}, settled: map[types.Epoch]tally.Settlement{},
		modules: cfg.Modules,
		last:    make([]types.Epoch, cfg.Regions),
		seeds:   map[types.Epoch]types.Hash{}, dirty: newDirty(),
	}
	for a, b := range cfg.Balances {
		s.balances[a] = b
		s.books.genesis += b
	}
	for _, v := range cfg.Verifiers {
		stake := types.Ustone(v.Power) * stone
		s.verifiers[v.Owner] = validator{Attester: v, stake: stake}
		s.taken[v.Key], s.taken[v.VRF] = v.Owner, v.Owner
		s.books.stake += stake
		s.books.genesis += stake
		s.dirty.verifiers[v.Key] = v.Owner
	}
	s.day = econ.Genesis(s.books.genesis)
	s.seeds[1] = beacon.Genesis(cfg.Chain, cfg.Genesis.Unix())
	m := &Memory{
		cfg: cfg, epochs: map[types.Epoch]*Epoch{}, views: map[types.Epoch][]tally.Attester{}, changes: map[types.Epoch][][]tally.Change{}, state: s,
	}
	m.open(1)
	m.block()
	return m
}

func (c *Config) defaults() {
	if c.Chain == "" {
		c.Chain = "cairn-test-1"
	}
	if c.Regions == 0 {
		c.Regions = 1
	}
	if c.Blocks == 0 {
		c.Blocks = 20
	}
	if c.Blocks < Rounds+1 {
		panic(fmt.Sprintf("ledger: epochs of %d blocks have no room for %d rounds", c.Blocks, Rounds))
	}
	if c.Window == 0 {
		c.Window = 1
	}
	if c.Vote == 0 {
		c.Vote = c.Blocks / 2
	}
	if c.Interval == 0 {
		c.Interval = 400 * time.Millisecond
	}
	if c.Genesis.IsZero() {
		c.Genesis = time.Unix(1_700_000_000, 0).UTC()
	}
	if c.Rules == 0 {
		c.Rules = 1
	}
	if c.Price == 0 {
		c.Price = 500_000_000
	}
	if c.Econ.Supplier == 0 {
		c.Econ = econ.Default()
	}
	if c.Opening == 0 {
		c.Opening = 1
	}
}

// Run makes a block at each interval until ctx ends.
func (m *Memory) Run(ctx context.Context) error {
	tick := time.NewTicker(m.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.Advance(1)
		}
	}
}

// Advance makes n blocks and returns the newest.
func (m *Memory) Advance(n uint64) Block {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.end(uint64(len(m.blocks)) + 1)
		m.block()
	}
	return m.blocks[len(m.blocks)-1]
}

// AdvanceTo makes blocks up to height.
func (m *Memory) AdvanceTo(height uint64) Block {
	m.mu.Lock()
	at := uint64(len(m.blocks))
	m.mu.Unlock()
	if height < at {
		height = at
	}
	return m.Advance(height - at)
}

// block appends the next block and tells who watches.
func (m *Memory) block() {
	h := uint64(len(m.blocks)) + 1
	b := Block{Height: h, Time: m.time(h), Epoch: m.epochOf(h)}
	var prev types.Hash
	if h > 1 {
		prev = m.blocks[h-2].Hash
	}
	b.Hash = types.Sum([]byte("block\x00"+m.cfg.Chain+"\x00"), prev[:], binary.BigEndian.AppendUint64(nil, h))
	m.blocks = append(m.blocks, b)
	if e := m.epochs[b.Epoch]; e.First == h {
		e.Time = b.Time
	}
	m.newest.Set(b)
}

// time returns when a block is made.
func (m *Memory) time(height uint64) time.Time {
	return m.cfg.Genesis.Add(time.Duration(height-1) * m.cfg.Interval)
}

func (m *Memory) epochOf(height uint64) types.Epoch {
	return types.Epoch((height-1)/m.cfg.Blocks) + 1
}

// regions are all that there are.
func (m *Memory) regions() types.Region { return types.Region(m.cfg.Regions) }

// next is the height that a transaction sent now is in. The caller holds mu.
func (m *Memory) next() uint64 { return uint64(len(m.blocks)) + 1 }

// end does what the chain does at the end of block height.
func (m *Memory) end(height uint64) {
	s, n := m.state, m.cfg.Blocks
	now := m.epochOf(height)
	m.tallyVotes(s, height)
	if e := now - 1; e > 0 {
		for region := range m.regions() {
			at := place{region, e}
			if r := m.epochs[e]; height == r.Cut+Rounds*r.Round {
				if _, ok := s.headers[at]; !ok {
					m.skip(s, at)
				}
			}
		}
	}
	for region := range m.regions() {
		m.finalize(s, region, height)
	}
	if height%n == 0 {
		if now > 1 {
			m.countMissed(s, now-1)
		}
		m.open(now + 1)
	}
}

// open takes the registry view with which epoch e starts, and its timetable.
func (m *Memory) open(e types.Epoch) {
	n, s := m.cfg.Blocks, m.state
	m.changes[e] = nil
	for region := range m.regions() {
		m.changes[e] = append(m.changes[e], s.view(region))
	}
	s.dirty = newDirty()
	ep := &Epoch{
		Epoch: e, First: uint64(e-1)*n + 1, Cut: uint64(e) * n, Round: n / 5, Grace: max(1, n/20),
		Rules: m.cfg.Rules, MinOpening: m.cfg.Opening, Params: m.cfg.Params,
	}
	m.views[e] = s.powers()
	ep.Verifiers, ep.Leaders = m.seats(e)
	m.epochs[e] = ep
}

// seats returns the verifiers of e with the power that counts, and each region's leaders: both from the view of
// one appeal window before, and no power beyond what the view of e says. Genesis keys count at once.
func (m *Memory) seats(e types.Epoch) ([]tally.Attester, [][]types.Key) {
	from := types.Epoch(1)
	if e > m.cfg.Window {
		from = e - m.cfg.Window
	}
	seats, now := slices.Clone(m.views[from]), m.views[e]
	powers := make([]uint64, len(seats))
	for i := range seats {
		powers[i] = seats[i].Power
		at, ok := slices.BinarySearchFunc(now, seats[i].Key, func(v tally.Attester, k types.Key) int { return compareKeys(v.Key, k) })
		if !ok {
			seats[i].Power = 0
			continue
		}
		seats[i].Power = min(seats[i].Power, now[at].Power)
	}
	seed := m.state.seeds[max(1, e-1)] // epoch 1 has no seed before its own
	leaders := make([][]types.Key, m.cfg.Regions)
	for region := range leaders {
		order, err := beacon.Leaders(seed, types.Region(region), powers)
		if err != nil {
			panic(err) // genesis stakes are far below 2⁶⁴
		}
		for _, at := range order {
			leaders[region] = append(leaders[region], seats[at].Key)
		}
	}
	return seats, leaders
}

func compareKeys(a, b types.Key) int { return slices.Compare(a[:], b[:]) }
func compareAccounts(a, b types.Account) int {
	return slices.Compare(a[:], b[:])
}

// powers returns the verifiers as they stand, ascending by key.
func (s *state) powers() []tally.Attester {
	var out []tally.Attester
	for _, v := range s.verifiers {
		w := v.Attester
		w.Power = v.power()
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b tally.Attester) int { return compareKeys(a.Key, b.Key) })
	return out
}

// view returns a region's changes since the last view: devices, removals, holders, grants, verifiers, each ascending.
func (s *state) view(region types.Region) []tally.Change {
	var out []tally.Change
	for _, k := range slices.SortedFunc(maps.Keys(s.dirty.devices), compareKeys) {
		if s.devices[k].Region != region {
			continue
		}
		if s.dirty.devices[k] {
			out = append(out, tally.Change{Remove: k})
			continue
		}
		d := s.devices[k].Device.Device
		out = append(out, tally.Change{Device: &d})
	}
	for _, h := range slices.SortedFunc(maps.Keys(s.dirty.holders), func(a, b holder) int { return compareAccounts(a.account, b.account) }) {
		if h.region == region {
			out = append(out, tally.Change{Holder: &tally.Holder{Account: h.account, Bought: s.holders[h]}})
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.dirty.grants), compareKeys) {
		if g := s.grants[k]; g.Region == region {
			out = append(out, tally.Change{Grant: &g.Grant})
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.dirty.verifiers), compareKeys) {
		v := s.verifiers[s.dirty.verifiers[k]]
		w := v.Attester
		w.Power = v.power()
		if w.Key != k { // the validator moved to another key
			w = tally.Attester{Key: k, Owner: v.Owner}
		}
		out = append(out, tally.Change{Attester: &w})
	}
	return out
}
