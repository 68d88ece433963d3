package provider

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/role"
)

// Figures of checks at the device.
const (
	gatherTime = 2 * time.Second // for the nonces of more than f witnesses
	slotsEarly = 1               // a slot may begin so many slots ahead of this machine's clock
	slotsLate  = 2               // and have begun so many before it
	maxGather  = 8               // checks that are known: those that gather nonces, the one that runs, and some of before
	maxOrder   = 2048            // of matrices: what a processor multiplies in some seconds
	maxChecked = 4096            // rounds of one chain: what a witness takes
)

// checks are the live checks to which witnesses call the device.
type checks struct {
	mu      sync.Mutex // guards what follows
	last    uint64     // the newest slot that has begun, on the disk too: no older one begins, and none twice
	offered uint32     // free slots that the epoch's offer told; 1 where that is not remembered
	epoch   types.Epoch
	members []types.Key // who was drawn in epoch, and decides
	f       int
	bySlot  map[uint64]*check
}

// check is one of them.
type check struct {
	epoch   types.Epoch
	slot    uint64
	members []types.Key
	f       int
	done    chan struct{} // closed when it is over

	mu       sync.Mutex // guards what follows
	joined   chan struct{}
	summons  []*compute.Summons // one of each witness
	begun    bool
	hardware compute.Hardware
	nonces   []compute.SignedNonce // of summons when it began
	sends    []func([]byte) error
	steps    [][]compute.SignedStep // by chain
	trees    []*merkle.Tree         // by t, of products
	shown    map[types.Key]bool     // who has asked for rows
	news     chan struct{}          // holds one when there are steps that were not sent
	waiting  []compute.SignedStep
	err      error
}

var slotKey = []byte("slot") // the newest slot whose check has begun

// openChecks reads which slot was the last.
func (d *device) openChecks() {
	d.checks = &checks{offered: 1, bySlot: map[uint64]*check{}, last: uint64(d.books.epoch(slotKey))}
}

// panel returns who witnesses this device's checks in an epoch.
func (d *device) panel(ctx context.Context, e types.Epoch) (members []types.Key, f int, err error) {
	c := d.checks
	c.mu.Lock()
	known := c.epoch == e
	members, f = c.members, c.f
	c.mu.Unlock()
	if known {
		return members, f, nil
	}
	drawn, err := d.host.Panel(ctx, compute.ForSlot)
	if err != nil {
		return nil, 0, err
	}
	if d.now() != e {
		return nil, 0, types.Refuse(types.WrongEpoch, "compute: epoch %d is over", e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch = e
	c.members, c.f = compute.Panel(drawn)
	return c.members, c.f, nil
}

// learnPanel asks who witnesses, ahead of the first check of an epoch: a witness's clock runs while it is asked for.
func (d *device) learnPanel(ctx context.Context) {
	n := d.view.Load()
	if !n.Challenged || n.Seed.IsZero() {
		return
	}
	d.work.Go(func() {
		if _, _, err := d.panel(ctx, n.Epoch); err != nil {
			d.log.Debug("compute: who witnesses is not known yet", "epoch", n.Epoch, "err", err)
		}
	})
}

// liveCheck answers a witness that calls the device to a check. Its nonce is part of the check if it comes in time;
// the answer comes when the check has been handed in.
func (d *device) liveCheck(ctx context.Context, r *role.Request) ([]byte, error) {
	s, err := compute.DecodeSummons(r.Body)
	if err != nil {
		return nil, err
	}
	e := d.now()
	now := uint64(time.Now().Unix()) / compute.SlotTime
	switch slot := s.Fired.Slot; {
	case s.Fired.Epoch != e:
		return nil, types.Refuse(types.WrongEpoch, "compute: a check of epoch %d, it is %d", s.Fired.Epoch, e)
	case slot > now+slotsEarly || slot+slotsLate < now:
		return nil, types.Refuse(compute.SlotUnproven, "compute: slot %d, it is %d", slot, now)
	case s.Nonce.Witness != r.From || !s.Nonce.Verify(d.chain, e, d.key, slot):
		return nil, types.Refuse(types.BadSignature, "compute: a nonce that %v did not sign", r.From)
	}
	members, f, err := d.panel(ctx, e)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(members, r.From) {
		return nil, types.Refuse(compute.WitnessNotDrawn, "compute: %v is no witness of epoch %d", r.From, e)
	}
	c, err := d.join(e, members, f, s, r.Send)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return []byte{}, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join adds a witness to the check of a slot, which begins to gather with the first.
func (d *device) join(e types.Epoch, members []types.Key, f int, s *compute.Summons, send func([]byte) error) (*check, error) {
	k, slot := d.checks, s.Fired.Slot
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.bySlot[slot]
	if c == nil {
		if slot <= k.last {
			return nil, types.Refuse(compute.SlotUnproven, "compute: slot %d after %d", slot, k.last)
		}
		for old, c := range k.bySlot {
			if c.over() && old+2*slotsLate < slot { // nobody asks for its rows any more
				delete(k.bySlot, old)
			}
		}
		if len(k.bySlot) >= maxGather {
			return nil, types.Refuse(compute.Busy, "compute: %d checks are called at a time", len(k.bySlot))
		}
		c = &check{epoch: e, slot: slot, members: members, f: f, done: make(chan struct{}), joined: make(chan struct{}, 1),
			news: make(chan struct{}, 1), shown: map[types.Key]bool{}}
		k.bySlot[slot] = c
		d.work.Go(func() {
			defer close(c.done)
			if c.err = d.check(d.ctx, c); c.err != nil {
				d.troubled(c)
			}
			if len(c.nonces) == 0 { // too few came; others may, and whoever came alone is not to keep them out
				k.mu.Lock()
				defer k.mu.Unlock()
				delete(k.bySlot, slot)
			}
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun || c.epoch != e {
		return nil, types.Refuse(compute.NonceMissing, "compute: the check of slot %d has begun", slot)
	}
	for _, other := range c.summons {
		if other.Nonce.Witness == s.Nonce.Witness {
			return nil, types.Refuse(compute.WitnessNotDrawn, "compute: a second nonce of %v", s.Nonce.Witness)
		}
	}
	c.summons, c.sends = append(c.summons, s), append(c.sends, send)
	poke(c.joined)
	return c, nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *check) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// troubled tells the owner of a check that came to nothing. One that too few witnesses called is nobody's fault here.
func (d *device) troubled(c *check) {
	d.log.Warn("compute: a check came to nothing", "slot", c.slot, "err", c.err)
	if d.ctx.Err() != nil || types.ReasonOf(c.err) == compute.NonceMissing || types.ReasonOf(c.err) == compute.Busy {
		return
	}
	d.provider.remark("check", role.Remark{
		Reason: compute.SlotMissed, Text: fmt.Sprintf("the live check at %v came to nothing: %v", slotTime(c.slot).UTC().Format(time.DateTime), c.err),
		Try: "Checks that are missed cost quality, and what the network orders. See the device's log.",
	})
}

func slotTime(slot uint64) time.Time { return time.Unix(int64(slot*compute.SlotTime), 0) }

// check gathers nonces, computes for Window, and hands in what it did.
func (d *device) check(ctx context.Context, c *check) error {
	if err := c.gather(ctx); err != nil {
		return err
	}
	if h := c.hardware; h.Round == compute.MAC && h.N > maxOrder && d.card.Load() == nil {
		return types.Refuse(compute.ClassMismatch, "compute: the device is registered as one that multiplies matrices of order %d: it has no accelerator", h.N)
	}
	if err := d.beginSlot(c.slot); err != nil {
		return err
	}
	d.cfg.at("slot")
	chains, err := d.freeChains(c.hardware)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.steps = make([][]compute.SignedStep, chains)
	c.mu.Unlock()
	if err := d.compute(ctx, c); err != nil {
		return err
	}
	return d.handInCheck(ctx, c)
}

// gather waits for the nonces of more than f witnesses, and then a moment for the others.
func (c *check) gather(ctx context.Context) error {
	late := time.NewTimer(gatherTime)
	defer late.Stop()
	for enough := false; ; {
		c.mu.Lock()
		n := len(c.summons)
		c.mu.Unlock()
		if n == len(c.members) {
			break
		}
		if n > c.f && !enough {
			enough = true
			late.Reset(compute.Patience * time.Millisecond)
		}
		select {
		case <-c.joined:
			if !enough { // who came alone, a while before the others, is not to use up their time
				late.Reset(gatherTime)
			}
			continue
		case <-late.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !enough {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.begun = true // nobody joins any more
			return types.Refuse(compute.NonceMissing, "compute: %d of %d witnesses called", n, len(c.members))
		}
		break
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	votes := map[compute.Hardware]int{}
	for _, s := range c.summons {
		h := compute.Hardware{Round: s.Round, N: s.N, Slots: s.Slots}
		if votes[h]++; votes[h] > votes[c.hardware] {
			c.hardware = h
		}
		c.nonces = append(c.nonces, s.Nonce)
	}
	slices.SortFunc(c.nonces, func(a, b compute.SignedNonce) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
	return nil
}

// beginSlot notes that a slot's check has begun, so that no other steps are ever signed for it: two for one place
// would be a fault.
func (d *device) beginSlot(slot uint64) error {
	d.checks.mu.Lock()
	if slot <= d.checks.last {
		d.checks.mu.Unlock()
		return types.Refuse(compute.SlotUnproven, "compute: slot %d after %d", slot, d.checks.last)
	}
	d.checks.last = slot
	d.checks.mu.Unlock()
	return d.books.write(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(slotKey, binary.BigEndian.AppendUint64(nil, slot))
	})
}

// freeChains returns on how many chains a check runs: on all slots that are free, without taking them. All
// devices of a network are checked at once, and customers are not to wait for that: a job that comes meanwhile
// shares a core with a chain. Where jobs have come since the offer and have all slots, one chain runs beside
// them; a device that offered none is busy.
func (d *device) freeChains(h compute.Hardware) (uint32, error) {
	d.checks.mu.Lock()
	offered := d.checks.offered
	d.checks.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	free := d.cfg.Slots - min(d.slots, d.cfg.Slots)
	switch {
	case free == 0 && offered == 0:
		return 0, types.Refuse(compute.Busy, "compute: no slot is free, and none was offered")
	case h.Round == compute.CPU:
		return max(1, min(free, uint32(h.Slots))), nil
	}
	return 1, nil
}

// compute computes for Window, and sends each step as it is there.
func (d *device) compute(ctx context.Context, c *check) error {
	run, cancel := context.WithTimeout(ctx, compute.Window*time.Millisecond)
	defer cancel()
	c.send((&compute.Progress{Nonces: c.nonces, Steps: []compute.SignedStep{}}).Encode())
	var sending, chains sync.WaitGroup
	over := make(chan struct{})
	sending.Go(func() {
		for {
			select {
			case <-c.news:
				c.flush()
			case <-over:
				c.flush()
				return
			}
		}
	})
	seed := compute.Seed(d.key, c.slot, c.nonces)
	errs := make([]error, len(c.steps))
	for i := range c.steps {
		chains.Go(func() { errs[i] = d.chainOf(run, c, uint32(i), compute.ChainSeed(seed, uint32(i))) })
	}
	chains.Wait()
	close(over)
	sending.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(errs...)
}

// chainOf computes one chain until ctx ends.
func (d *device) chainOf(ctx context.Context, c *check, chain uint32, seed types.Hash) error {
	step := compute.Step{Epoch: c.epoch, Slot: c.slot, Chain: chain, Seed: seed}
	each := func(root types.Hash) error {
		if ctx.Err() != nil || step.T == maxChecked {
			return context.DeadlineExceeded
		}
		step.Root = root
		c.add(&compute.SignedStep{Step: step, Signature: d.host.Sign(compute.DomainStep, types.Encode(&step))})
		step.Seed = step.Next()
		step.T++
		return nil
	}
	var err error
	if c.hardware.Round == compute.MAC {
		for err == nil {
			var tree *merkle.Tree
			if tree, err = d.product(step.Seed, int(c.hardware.N)); err != nil {
				break
			}
			c.mu.Lock()
			c.trees = append(c.trees, tree)
			c.mu.Unlock()
			err = each(tree.Root())
		}
	} else {
		err = d.cfg.mix(ctx, d.mixer(), seed, each)
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// mixer returns the executor that computes chains of processors; nil where none does.
func (d *device) mixer() mixer {
	for _, e := range d.executors {
		if m, ok := e.(mixer); ok {
			return m
		}
	}
	return nil
}

// mixChain computes a chain in a guest, or natively where the device has no guests.
func mixChain(ctx context.Context, m mixer, seed types.Hash, each func(types.Hash) error) error {
	if m != nil {
		return m.Mix(ctx, seed, each)
	}
	for {
		root := mac.Mix(seed)
		if err := each(root); err != nil {
			return err
		}
		seed = types.Sum(seed[:], root[:])
	}
}

// readyMix makes ready what checks run, ahead of the first.
func (d *device) readyMix(ctx context.Context) {
	m := d.mixer()
	if m == nil {
		return
	}
	d.work.Go(func() {
		if err := m.ReadyMix(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("compute: what checks run cannot be made ready", "err", err)
		}
	})
}

func (c *check) add(s *compute.SignedStep) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps[s.Step.Chain] = append(c.steps[s.Step.Chain], *s)
	c.waiting = append(c.waiting, *s)
	poke(c.news)
}

// stepSize is about what a step takes in a part.
const stepSize = 160

// flush sends the steps that wait to all witnesses.
func (c *check) flush() {
	c.mu.Lock()
	list := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for part := range slices.Chunk(list, compute.MaxPart/stepSize) {
		c.send((&compute.Progress{Nonces: []compute.SignedNonce{}, Steps: part}).Encode())
	}
}

// send sends a part to all witnesses. One that has gone misses it.
func (c *check) send(part []byte) {
	for _, send := range c.sends {
		_ = send(part) // it does not wait
	}
}

// handInCheck hands in what was done. Where witnesses named several proofs, of which some lie, it hands in one with
// each: only one can count.
func (d *device) handInCheck(ctx context.Context, c *check) error {
	if d.now() != c.epoch {
		return types.Refuse(types.WrongEpoch, "compute: epoch %d ended before the check was handed in", c.epoch)
	}
	var roots []types.Hash
	counts := false
	for _, chain := range c.steps {
		counts = counts || c.hardware.Round == compute.MAC && len(chain) > 0 || len(chain) >= compute.MinRounds
		for i := range chain {
			roots = append(roots, chain[i].Step.Root)
		}
	}
	if !counts { // nobody counts anything: it was as good as missed
		return types.Refuse(compute.SlotMissed, "compute: %d rounds in %d s on %d chains, want %d of one: the machine is busy, or too slow",
			len(roots), compute.Window/1000, len(c.steps), compute.MinRounds)
	}
	body := compute.Check{Slot: c.slot, Round: c.hardware.Round, N: uint32(len(c.steps)), Nonces: c.nonces, Steps: uint32(len(roots)), Root: merkle.Root(roots)}
	if c.hardware.Round == compute.MAC {
		body.N = c.hardware.N
	}
	votes := map[string]int{}
	for _, s := range c.summons {
		votes[string(s.Fired.Proof)]++
	}
	proofs := make([]string, 0, len(votes))
	for p := range votes {
		proofs = append(proofs, p)
	}
	slices.SortFunc(proofs, func(a, b string) int { return cmp.Or(cmp.Compare(votes[b], votes[a]), cmp.Compare(a, b)) })
	var errs []error
	for _, p := range proofs {
		body.Proof = []byte(p)
		errs = append(errs, d.host.Submit(ctx, compute.KindCheck, body.Encode()))
	}
	d.log.Info("compute: a check is handed in", "slot", c.slot, "steps", len(roots), "chains", len(c.steps), "witnesses", len(c.nonces))
	return errors.Join(errs...)
}

// showRows shows a witness of a check the rows that it asks for, once.
func (d *device) showRows(ctx context.Context, r *role.Request) ([]byte, error) {
	s, err := compute.DecodeRowsQuery(r.Body)
	if err != nil {
		return nil, err
	}
	d.checks.mu.Lock()
	c := d.checks.bySlot[s.Slot]
	d.checks.mu.Unlock()
	if c == nil {
		return nil, types.Refuse(compute.SlotUnproven, "compute: no check of slot %d", s.Slot)
	}
	c.mu.Lock()
	if !c.begun || c.hardware.Round != compute.MAC || c.shown[r.From] ||
		!slices.ContainsFunc(c.nonces, func(n compute.SignedNonce) bool { return n.Witness == r.From }) {
		c.mu.Unlock()
		return nil, types.Refuse(compute.WitnessNotDrawn, "compute: %v has seen the rows of slot %d, or is no witness of it", r.From, s.Slot)
	}
	c.shown[r.From] = true
	c.mu.Unlock()
	n := int(c.hardware.N)
	var part compute.ShownRows
	for _, o := range s.Openings {
		c.mu.Lock()
		known := o.Chain == 0 && int(o.T) < len(c.steps[0])
		if !known {
			c.mu.Unlock()
			return nil, types.Refuse(compute.StepBroken, "compute: no step %d of chain %d", o.T, o.Chain)
		}
		tree, seed := c.trees[o.T], c.steps[0][o.T].Step.Seed
		c.mu.Unlock()
		shown, err := d.rows(seed, n, o.Rows)
		if err != nil {
			return nil, err
		}
		for k, i := range o.Rows {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			part = append(part, compute.ShownRow{Row: shown[k], Path: tree.Proof(int(i))})
			if (len(part)+1)*(4*n+1024) > compute.MaxPart {
				if err := r.Send(part.Encode()); err != nil {
					return nil, err
				}
				part = nil
			}
		}
	}
	if len(part) > 0 {
		if err := r.Send(part.Encode()); err != nil {
			return nil, err
		}
	}
	return []byte{}, nil
}
