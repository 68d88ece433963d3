// Package live has the live checks of compute beside a verifier: it calls checks when it is the epoch's caller, and
// looks at the devices that it was drawn for.
//
// # Calling
//
// The epoch's caller (compute.Caller) proves for each slot, as it begins, whether it fires, and calls the witnesses
// of all verifiers with the proof. It leaves out slots so near to the epoch's end that what came of them could not be
// handed in any more, and all of an epoch whose length it cannot tell yet.
//
// # Looking
//
// A witness takes a call if the epoch's caller made it, the proof holds, and the slot is now, by its own clock. To
// each device that it was drawn for it sends a nonce, and its clock for that device starts. It counts the steps that
// arrive within Window, and only then draws into which it looks. When the device says that it has handed in the
// check, or says nothing for a while, the witness reports what it saw; what proves a fault it hands in with it. A
// report is of the epoch of the slot, or is not made.
//
// # Bounds
//
// One check a slot, at most maxLooks devices at a time, of each at most compute.Seats nonces and so many steps as a
// Watch takes. Rounds are recomputed on as many processors as there are, less one.
package live

import (
	"context"
	"crypto/rand"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// Config of live checks.
type Config struct{}

// Figures of a witness.
const (
	maxLooks    = 1024                   // devices that it looks at in a slot; it says how many more there were
	nearSlots   = 1                      // by how many slots its clock may be off from the caller's
	leastTime   = 4 * time.Second        // that an epoch must go on for a slot to be called: a sixteenth of an epoch,
	mostTime    = 20 * time.Second       // between these
	paceBlocks  = 4                      // after so many blocks of an epoch it is known how fast they come
	patience    = 3 * time.Second        // after Window, for the device to say that the check is handed in
	rowsTime    = 2 * time.Second        // for rows, and the time of Draws rounds more
	submitAhead = 300 * time.Millisecond // a check comes before what witnesses say of it
)

// Live makes live checks.
type Live struct{ cfg Config }

// New returns what makes live checks.
func New(cfg Config) *Live { return &Live{cfg} }

// seat is one Run.
type seat struct {
	host   role.VerifierHost
	works  chan struct{} // a place for each round that is recomputed
	looks  chan struct{}
	active sync.WaitGroup

	mu     sync.Mutex // guards what follows
	notice role.Notice
	came   time.Time     // when it did
	first  uint64        // the epoch's first block that a notice was of
	began  time.Time     // when that came
	pace   time.Duration // from block to block; 0: not known
	slot   uint64        // the newest that was looked at
}

// Run calls and looks until ctx ends.
func (w *Live) Run(ctx context.Context, host role.VerifierHost) error {
	s := &seat{host: host, works: make(chan struct{}, max(1, runtime.NumCPU()-1)), looks: make(chan struct{}, maxLooks)}
	calls := host.Calls(ctx)
	s.active.Go(func() { s.call(ctx) })
	defer s.active.Wait()
	notices := host.Notices(ctx)
	for {
		select {
		case n, more := <-notices:
			if !more {
				<-ctx.Done()
				return nil
			}
			s.heard(&n)
		case c, more := <-calls:
			if !more {
				return nil
			}
			if err := s.called(ctx, &c); err != nil && ctx.Err() == nil {
				host.Log().Debug("compute: a call is not taken", "by", c.By, "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// heard takes a notice, and notes how fast blocks come.
func (s *seat) heard(n *role.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if n.Epoch != s.notice.Epoch {
		if n.Epoch == s.notice.Epoch+1 && n.Height > s.first && s.first > 0 {
			s.pace = now.Sub(s.began) / time.Duration(n.Height-s.first)
		} else {
			s.pace = 0 // nothing is known of how long this one takes
		}
		s.first, s.began = n.Height, now
	} else if n.Height >= s.first+paceBlocks {
		s.pace = now.Sub(s.began) / time.Duration(n.Height-s.first)
	}
	s.notice, s.came = *n, now
}

// now returns the newest notice, and how long the epoch is likely to take on beyond the time that a check needs;
// negative where that is not known.
func (s *seat) now() (n role.Notice, spare time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.notice
	if s.pace <= 0 || n.Cut < n.Height {
		return n, -1
	}
	need := min(max(s.pace*time.Duration(n.Cut-s.first)/16, leastTime), mostTime)
	return n, s.pace*time.Duration(n.Cut+1-n.Height) - time.Since(s.came) - need
}

// call proves slots as they begin, in the epochs of which this verifier is the caller.
func (s *seat) call(ctx context.Context) {
	for {
		now := time.Now()
		slot := uint64(now.Unix())/compute.SlotTime + 1
		select {
		case <-time.After(begins(slot).Sub(now)):
		case <-ctx.Done():
			return
		}
		if err := s.begin(ctx, slot); err != nil && ctx.Err() == nil {
			s.host.Log().Debug("compute: a slot cannot be called", "slot", slot, "err", err)
		}
	}
}

func begins(slot uint64) time.Time { return time.Unix(int64(slot*compute.SlotTime), 0) }

// begin calls a slot if it fires, and this verifier is to.
func (s *seat) begin(ctx context.Context, slot uint64) error {
	n, spare := s.now()
	if !n.Challenged || n.Seed.IsZero() || spare < 0 {
		return nil
	}
	registry, _, err := s.host.Registry(ctx)
	if err != nil {
		return err
	}
	caller := compute.Caller(registry, n.Seed)
	if caller == nil || caller.Key != s.host.Key() {
		return nil
	}
	proof := s.host.Prove(compute.SlotPurpose, n.Seed, slot)
	if !compute.SlotFires(caller.VRF, s.host.Chain(), n.Seed, slot, compute.RulesIn(n.Rules).Rarity, proof) {
		return nil
	}
	return s.host.Call(ctx, (&compute.Fired{Epoch: n.Epoch, Slot: slot, Proof: proof}).Encode())
}

// called looks at the devices of a slot that fires.
func (s *seat) called(ctx context.Context, c *role.Called) error {
	f, err := compute.DecodeFired(c.Body)
	if err != nil {
		return err
	}
	n, _ := s.now()
	now := uint64(time.Now().Unix()) / compute.SlotTime
	if f.Epoch != n.Epoch || !n.Challenged || f.Slot > now+nearSlots || f.Slot+nearSlots < now {
		return types.Refuse(compute.SlotUnproven, "compute: slot %d of epoch %d: it is %d of %d", f.Slot, f.Epoch, now, n.Epoch)
	}
	registry, panel, err := s.host.Registry(ctx)
	if err != nil {
		return err
	}
	caller, rules := compute.Caller(registry, n.Seed), compute.RulesIn(n.Rules)
	if caller == nil || caller.Key != c.By || !compute.SlotFires(caller.VRF, s.host.Chain(), n.Seed, f.Slot, rules.Rarity, f.Proof) {
		return types.Refuse(compute.SlotUnproven, "compute: slot %d is not called by %v", f.Slot, c.By)
	}
	s.mu.Lock()
	again := f.Slot <= s.slot
	s.slot = max(s.slot, f.Slot)
	s.mu.Unlock()
	if again {
		return nil
	}
	subjects, err := s.host.Drawn(ctx, compute.ForSlot)
	if err != nil {
		return err
	}
	over := 0
	for i := range subjects {
		d := &subjects[i].Device
		members, lie := compute.Panel(panel.Draw(d, compute.ForSlot))
		if !slices.Contains(members, s.host.Key()) {
			continue
		}
		select {
		case s.looks <- struct{}{}:
		default:
			over++
			continue
		}
		l := &look{seat: s, fired: *f, notice: n, device: d.Key, hardware: rules.Hardware(d.Model), members: members, f: lie}
		s.active.Go(func() {
			defer func() { <-s.looks }()
			l.run(ctx)
		})
	}
	if over > 0 {
		s.host.Log().Warn("compute: too many devices to look at in one slot", "slot", f.Slot, "devices", len(subjects), "left_out", over)
	}
	return nil
}

// secret is randomness that nobody else has.
func secret() (h types.Hash) {
	rand.Read(h[:]) // it does not fail
	return h
}
