package node

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// follow tells the providers each believed notice, together with the device's line after the newest tally and
// the rules in force, until ctx ends. While those are not to be had, they are not told; a slow step skips
// notices, never the newest.
func (n *Node) follow(ctx context.Context) {
	var line *bus.Line
	news := n.agent.Notices(ctx)
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-retry.C:
		}
		notice := n.agent.Notice()
		if notice == nil {
			continue
		}
		if line == nil || line.Tallied != notice.Tallied.Epoch {
			fetched, err := n.agent.Quorum().Line(ctx, n.Key(), notice.Tallied.Epoch)
			if err != nil {
				n.log.Debug("the device's line is not to be had", "tallied", notice.Tallied.Epoch, "error", err)
				retry.Reset(200 * time.Millisecond)
				continue
			}
			line = fetched
			n.takeLine(line)
			n.ready.Store(true)
		}
		if err := n.tell(ctx, notice, line); err != nil {
			n.log.Debug("a category's rules are not to be had", "epoch", notice.Epoch, "error", err)
			retry.Reset(200 * time.Millisecond)
			continue
		}
		agent.Poke(n.told)
	}
}

// chores does what a new epoch and a new tally call for, until ctx ends. It may take its time: nobody waits for it.
func (n *Node) chores(ctx context.Context) {
	var epoch, tallied types.Epoch
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.told:
		}
		notice, b := n.agent.Notice(), n.agent.Bus()
		if notice == nil || b == nil {
			continue
		}
		if notice.Epoch != epoch {
			epoch = notice.Epoch
			n.began(ctx, b, notice)
		}
		if notice.Tallied.Epoch != tallied {
			tallied = notice.Tallied.Epoch
			n.tallied(ctx, b, notice)
		}
	}
}

// takeLine makes numbers go on where the tally stands.
func (n *Node) takeLine(line *bus.Line) {
	raised, err := n.outbox.Raise(line.Seq, line.Last)
	if err != nil {
		n.log.Error("outbox", "error", err)
	}
	if raised {
		n.log.Warn("the tally has seen later evidence of this device than its home: it goes on after that", "seq", line.Seq)
	}
}

// tell brings the providers up to date, if the rules of all are to be had.
func (n *Node) tell(ctx context.Context, notice *bus.Notice, line *bus.Line) error {
	list := make([]role.Notice, len(n.providers))
	for i, r := range n.providers {
		c := r.provider.Category
		rules, err := n.agent.Rules(ctx, notice, c)
		if err != nil {
			return err
		}
		list[i] = agent.NoticeFor(notice, c, rules)
		for _, l := range line.Lines {
			if l.Category == c && len(l.State) > 0 {
				list[i].Line = l.State
			}
		}
	}
	for i, r := range n.providers {
		r.notices.Set(list[i])
	}
	return nil
}

// began does what an epoch calls for: grants may be new, asks are shown again.
func (n *Node) began(ctx context.Context, b bus.Bus, notice *bus.Notice) {
	given, err := n.outbox.Expire(notice.Epoch)
	if err != nil {
		n.log.Error("outbox", "error", err)
	}
	n.giveUp(given)
	n.asks.again()
	if keys := n.payers.keys(); len(keys) > 0 {
		n.askPayers(ctx, b, keys)
	}
}

// tallied does what a new tally calls for: payers have spent, and the device has earned.
func (n *Node) tallied(ctx context.Context, b bus.Bus, notice *bus.Notice) {
	if keys := n.payers.keys(); len(keys) > 0 {
		n.askPayers(ctx, b, keys)
	}
	if notice.Tallied.Header.IsZero() {
		return
	}
	q := n.agent.Quorum()
	if leaf, err := q.Leaf(ctx, n.Key(), notice.Tallied, true); err == nil { // else the next tally says it
		n.earned(leaf.Amount, time.Now())
	}
	if !notice.Final.Header.IsZero() {
		if leaf, err := q.Leaf(ctx, n.Key(), notice.Final, false); err == nil {
			n.status.final(leaf.Amount)
		}
	}
	if r, err := q.Refusals(ctx, n.Key(), notice.Tallied.Epoch); err == nil {
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
	if raw := n.outbox.Get("day"); raw != nil {
		_ = json.Unmarshal(raw, &d) // a broken note begins the day anew
	}
	if date := now.UTC().Format(time.DateOnly); d.Date != date {
		d = day{Date: date, Before: d.Amount}
	}
	d.Before = min(d.Before, amount) // a voided header takes amounts back
	d.Amount = amount
	raw, err := json.Marshal(d)
	if err == nil {
		err = n.outbox.Put("day", raw)
	}
	if err != nil {
		n.log.Error("outbox", "error", err)
	}
	n.status.earned(amount, amount-d.Before)
}
