package node

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

const pinName = "pin"

// loadPin returns the set that the node followed to, or the one it was onboarded with.
func (n *Node) loadPin() bus.Pin {
	var kept bus.Pin
	if raw := n.outbox.get(pinName); raw != nil && json.Unmarshal(raw, &kept) == nil && kept.Check() == nil &&
		kept.Chain == n.chain && kept.Region == n.config.Region && kept.Epoch >= n.config.Pin.Epoch {
		return kept
	}
	pin := n.config.Pin
	pin.Region = n.config.Region
	return pin
}

func (n *Node) savePin() {
	raw, err := json.Marshal(n.follower.Pin())
	if err == nil {
		err = n.outbox.put(pinName, raw)
	}
	if err != nil {
		n.log.Error("the verifiers to trust cannot be stored", "error", err)
	}
}

// follow tells the providers each believed notice, together with the device's line after the newest tally and the rules in force, until
// ctx ends. While those are not to be had, they are not told; a slow step skips notices, never the newest.
func (n *Node) follow(ctx context.Context) {
	var line *bus.Line
	rules := map[types.Category][]byte{}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.news:
		case <-retry.C:
		}
		notice, b := n.follower.Newest(), n.connection()
		if notice == nil || b == nil {
			retry.Reset(200 * time.Millisecond)
			continue
		}
		if line == nil || line.Tallied != notice.Tallied.Epoch {
			fetched, err := n.line(ctx, b, notice)
			if err != nil {
				n.log.Debug("the device's line is not to be had", "tallied", notice.Tallied.Epoch, "error", err)
				retry.Reset(200 * time.Millisecond)
				continue
			}
			line = fetched
			n.takeLine(line)
			n.ready.Store(true)
		}
		if err := n.takeRules(ctx, b, notice, rules); err != nil {
			n.log.Debug("a category's rules are not to be had", "epoch", notice.Epoch, "error", err)
			retry.Reset(200 * time.Millisecond)
			continue
		}
		n.tell(notice, line, rules)
		poke(n.chore)
	}
}

// chores does what a new epoch and a new tally call for, until ctx ends. It may take its time: nobody waits for it.
func (n *Node) chores(ctx context.Context) {
	var epoch, tallied types.Epoch
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.chore:
		}
		notice, b := n.follower.Newest(), n.connection()
		if notice == nil || b == nil {
			continue
		}
		if notice.Epoch != epoch {
			epoch = notice.Epoch
			n.begin(ctx, b, notice)
		}
		if notice.Tallied.Epoch != tallied {
			tallied = notice.Tallied.Epoch
			n.tallied(ctx, b, notice)
		}
	}
}

// takeLine makes numbers go on where the tally stands.
func (n *Node) takeLine(line *bus.Line) {
	raised, err := n.outbox.raise(line.Seq, line.Last)
	if err != nil {
		n.log.Error("outbox", "error", err)
	}
	if raised {
		n.log.Warn("the tally has seen later evidence of this device than its home: it goes on after that", "seq", line.Seq)
	}
}

// takeRules brings held, the rules of the providers' categories, to what the notice names: out of the home, or over the bus.
func (n *Node) takeRules(ctx context.Context, b bus.Bus, notice *bus.Notice, held map[types.Category][]byte) error {
	for _, r := range n.providers {
		c := r.provider.Category()
		i := slices.IndexFunc(notice.Rules, func(r bus.Rules) bool { return r.Category == c })
		if i < 0 {
			delete(held, c)
			continue
		}
		want := notice.Rules[i].Blob
		if bus.BlobOf(held[c]) == want {
			continue
		}
		name := "rules/" + c.String()
		raw := n.outbox.get(name)
		if bus.BlobOf(raw) != want {
			var err error
			if raw, err = bus.FetchBlob(ctx, b, want.Hash, want.Size); err != nil {
				return err
			}
			if err := n.outbox.put(name, raw); err != nil {
				n.log.Error("outbox", "error", err) // they are fetched again after a restart
			}
		}
		held[c] = raw
	}
	return nil
}

// tell brings the providers up to date.
func (n *Node) tell(notice *bus.Notice, line *bus.Line, rules map[types.Category][]byte) {
	for _, r := range n.providers {
		c := r.provider.Category()
		r.tell(roleNotice(notice, line, c, rules[c]))
	}
}

func roleNotice(n *bus.Notice, line *bus.Line, c types.Category, rules []byte) role.Notice {
	out := role.Notice{Epoch: n.Epoch, Seed: n.Seed, Challenged: n.Challenged, EpochTime: n.EpochTime, Height: n.Height, Hash: n.Hash, Time: n.Time,
		Cut: n.Cut, Final: n.Final.Epoch, Tallied: n.Tallied.Epoch, MinOpening: n.MinOpening, Rules: rules}
	for _, t := range n.Totals {
		if t.Category == c {
			out.Totals = t.Sums
		}
	}
	for _, l := range line.Lines {
		if l.Category == c && len(l.State) > 0 {
			out.Line = l.State
		}
	}
	return out
}

// begin does what an epoch calls for: grants may be new, asks are shown again.
func (n *Node) begin(ctx context.Context, b bus.Bus, notice *bus.Notice) {
	n.savePin()
	given, err := n.outbox.expire(notice.Epoch)
	if err != nil {
		n.log.Error("outbox", "error", err)
	}
	n.giveUp(given)
	n.hideAsks()
	poke(n.work)
	if keys := n.payers.keys(); len(keys) > 0 {
		n.askPayers(ctx, b, notice.Set, keys)
	}
}

// tallied does what a new tally calls for: payers have spent, and the device has earned.
func (n *Node) tallied(ctx context.Context, b bus.Bus, notice *bus.Notice) {
	if keys := n.payers.keys(); len(keys) > 0 {
		n.askPayers(ctx, b, notice.Set, keys)
	}
	if notice.Tallied.Header.IsZero() {
		return
	}
	if leaf, ok := n.proof(ctx, b, notice.Tallied, true); ok {
		n.earned(leaf.Amount, time.Now())
	}
	if !notice.Final.Header.IsZero() {
		if leaf, ok := n.proof(ctx, b, notice.Final, false); ok {
			n.status.final(leaf.Amount)
		}
	}
	if r := n.refusals(ctx, b, notice.Set, notice.Tallied.Epoch); r != nil {
		n.status.judged(r)
	}
}

// day is what the device had earned before a day began.
type day struct {
	Date   string       `json:"date"` // UTC
	Before types.Ustone `json:"before"`
	Amount types.Ustone `json:"amount"` // the newest
}

// earned notes a new cumulative amount, and what of it is today's.
func (n *Node) earned(amount types.Ustone, now time.Time) {
	var d day
	if raw := n.outbox.get("day"); raw != nil {
		_ = json.Unmarshal(raw, &d) // a broken note begins the day anew
	}
	if date := now.UTC().Format(time.DateOnly); d.Date != date {
		d = day{Date: date, Before: d.Amount}
	}
	d.Before = min(d.Before, amount) // a voided header takes amounts back
	d.Amount = amount
	raw, err := json.Marshal(d)
	if err == nil {
		err = n.outbox.put("day", raw)
	}
	if err != nil {
		n.log.Error("outbox", "error", err)
	}
	n.status.earned(amount, amount-d.Before)
}
