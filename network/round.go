package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// Summary is what a first round came to: what `cairn up --once --json` prints. Amounts are base units.
type Summary struct {
	ChainID string       `json:"chain_id"`
	Height  uint64       `json:"height"`
	Epochs  types.Epoch  `json:"epochs"` // that have ended
	Devices int          `json:"devices"`
	Header  types.Hash   `json:"header"`  // the final one that was claimed by
	Counted uint64       `json:"counted"` // items, in that header's epoch
	Refused uint64       `json:"refused"`
	Claimed types.Ustone `json:"claimed_ustone,string"` // in this round
	Page    string       `json:"page"`
	API     string       `json:"api"`
	RPC     string       `json:"rpc"`
	REST    string       `json:"rest"`
}

// FirstRound does the first round of real work: the home's customer buys credits and uses every category that
// has something to show; then, once a tally that pays for it is final, all owners claim.
func (n *Network) FirstRound(ctx context.Context) (*Summary, error) {
	var group errgroup.Group
	group.Go(func() error { return n.ensureOwners(ctx) })
	customer, err := n.EnsureCustomer(ctx)
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, err
	}
	wallet, err := n.gateway.Wallet(ctx, customer.APIKey)
	if err != nil {
		return nil, err
	}
	head, err := n.Ledger().Head(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range n.cfg.Customers {
		if c.FirstRound == nil || !n.provided(c.Category) {
			continue
		}
		did, err := c.FirstRound(ctx, wallet)
		if err != nil {
			return nil, fmt.Errorf("network: first round of %v: %w", c.Category, err)
		}
		if did != "" {
			n.cfg.Progress(Step{Text: did, Done: true})
		}
	}
	n.cfg.Progress(Step{Text: "an epoch ends, the tally pays, and its appeal window closes"})
	return n.claimWhenFinal(ctx, head.Epoch, wallet)
}

// provided reports whether a device of the network provides a category.
func (n *Network) provided(c types.Category) bool {
	return slices.ContainsFunc(n.devices(), func(d *device) bool { _, ok := d.settings[c]; return ok })
}

// patience is how many epochs a first round waits for the last device that served to have something, after the
// first has: what is read is paid for at once, what is held only after an epoch, and a tally turns into STONE
// what the one before it counted.
const patience = 3

// claimWhenFinal waits for a final header for an epoch after since by which every device that the customer buys
// from is paid something, or until patience ends, and has all owners claim by it. It waits no longer than a
// vigil does.
func (n *Network) claimWhenFinal(ctx context.Context, since types.Epoch, wallet role.Wallet) (*Summary, error) {
	var told, first types.Epoch // first: of the first header that pays anybody
	wait := newVigil(since, time.Now())
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	blocks := n.Ledger().Watch(ctx)
	for {
		var block ledger.Block
		var ok bool
		select {
		case block, ok = <-blocks:
		case <-tick.C:
		}
		word, err := wait.look(block.Epoch, time.Now())
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("network: no final tally paid anybody: %w", ctx.Err())
		case err != nil:
			return nil, err
		case word != "":
			n.cfg.Progress(Step{Text: word})
		}
		if !ok {
			continue
		}
		headers, err := n.Ledger().Headers(ctx, n.region(), 16)
		if err != nil {
			return nil, fmt.Errorf("network: headers: %w", err)
		}
		for i := len(headers) - 1; i >= 0; i-- {
			if h := headers[i]; h.Epoch > max(since, told) && h.Raw != nil {
				told = h.Epoch
				if err := n.tell(h); err != nil {
					return nil, err
				}
			}
		}
		for _, h := range headers {
			if h.Status != ledger.Final {
				continue
			}
			if h.Epoch <= since {
				break
			}
			list, err := n.dues(ctx)
			if err != nil {
				return nil, err
			}
			later, err := n.unpaid(wallet, list)
			if err != nil {
				return nil, err
			}
			list = slices.DeleteFunc(list, func(o due) bool { return o.amount() == 0 })
			if len(list) == 0 {
				break
			}
			if first == 0 {
				first = h.Epoch
			}
			if later > 0 && h.Epoch < first+patience {
				break
			}
			return n.claim(ctx, block, h, list, later)
		}
	}
}

// What a first round waits for at most: for a final tally that pays, and for a block. Long before, it says what
// it waits for, and again each time that as much has passed.
const (
	mostEpochs = 24
	wordEpochs = 6
	mostStill  = 5 * time.Minute
	wordStill  = 15 * time.Second
)

// vigil says when somebody who waits for a tally has to hear of it, and when to give up.
type vigil struct {
	since, said, epoch types.Epoch
	block, spoke       time.Time // when the last block came, and when it was said that none does
}

func newVigil(since types.Epoch, now time.Time) *vigil {
	return &vigil{since: since, said: since, epoch: since, block: now, spoke: now}
}

// look takes the epoch of a new block, 0 for none, and returns what to say, if anything, or why to wait no more.
func (v *vigil) look(epoch types.Epoch, now time.Time) (string, error) {
	if epoch != 0 {
		v.block, v.spoke, v.epoch = now, now, max(v.epoch, epoch)
	}
	switch still := now.Sub(v.block); {
	case v.epoch > v.since+mostEpochs:
		return "", types.Refuse(types.NotFinal, "network: no final tally has paid anybody for %d epochs: `cairn tally list` shows whether verifiers agree, the log what they miss", mostEpochs)
	case still > mostStill:
		return "", types.Refuse(types.ChainStalled, "network: the chain has made no block for %v: the log says why", still.Round(time.Second))
	case now.Sub(v.spoke) > wordStill:
		v.spoke = now
		return fmt.Sprintf("the chain has made no block for %v; it is waited for %v", still.Round(time.Second), mostStill), nil
	case v.epoch >= v.said+wordEpochs:
		v.said = v.epoch
		return fmt.Sprintf("epoch %d: no final tally has paid anybody yet; it is waited for until epoch %d", v.epoch, v.since+mostEpochs), nil
	}
	return "", nil
}

// tell reports a tally.
func (n *Network) tell(h *ledger.Header) error {
	decoded, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return err
	}
	t := &decoded.Totals
	n.cfg.Progress(Step{Done: true, Text: fmt.Sprintf("epoch %d: tally %.16s…, %d items counted, %d refused; customers have spent %s, of which %s became %s for owners",
		h.Epoch, h.Hash, t.Counted, t.Refused, dollars(t.Spent), dollars(t.Settled), stone(t.Amount))})
	return nil
}

func stone(u types.Ustone) string { return fmt.Sprintf("%d.%06d STONE", u/1e6, u%1e6) }

func dollars(c types.Credit) string { return fmt.Sprintf("$%d.%06d", c/1e6, c%1e6) }

// due is what the newest final header that counts a device says of it.
type due struct {
	device  tally.Device
	proof   ledger.Claim
	claimed types.Ustone // before
}

// amount is what a claim would pay.
func (o *due) amount() types.Ustone { return o.proof.Leaf.Amount - min(o.claimed, o.proof.Leaf.Amount) }

// dues returns what there is to say of each device that a final header counts.
func (n *Network) dues(ctx context.Context) ([]due, error) {
	devices, err := n.Ledger().Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("network: devices: %w", err)
	}
	var list []due
	for _, d := range devices {
		c, err := n.VerifierIn(0, d.Region).Proof(ctx, d.Key, false)
		if reason := types.ReasonOf(err); reason == types.NotFinal || reason == types.UnknownAuthor {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("network: proof of %v: %w", d.Key, err)
		}
		claimed, err := n.Ledger().Claimed(ctx, d.Key)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, fmt.Errorf("network: claimed by %v: %w", d.Key, err)
		}
		list = append(list, due{d.Device, c, claimed})
	}
	return list, nil
}

// Claimable returns a claim for each device that a final header owes something.
func (n *Network) Claimable(ctx context.Context) ([]ledger.Claim, error) {
	list, err := n.dues(ctx)
	var claims []ledger.Claim
	for _, o := range list {
		if o.amount() > 0 {
			claims = append(claims, o.proof)
		}
	}
	return claims, err
}

// unpaid counts the devices that serve the customer and of which no final header has ever paid anything.
func (n *Network) unpaid(wallet role.Wallet, known []due) (int, error) {
	waits := map[types.Key]bool{}
	for _, c := range n.cfg.Customers {
		if c.BuysFrom == nil {
			continue
		}
		from, err := c.BuysFrom(wallet)
		if err != nil {
			return 0, fmt.Errorf("network: whom the customer buys %v from: %w", c.Category, err)
		}
		for _, key := range from {
			waits[key] = true
		}
	}
	for _, d := range known {
		if d.proof.Leaf.Amount > 0 {
			delete(waits, d.device.Key)
		}
	}
	return len(waits), nil
}

// claim has all owners paid in one transaction, which anybody may send. later is how many devices have yet to
// be paid for the first time.
func (n *Network) claim(ctx context.Context, head ledger.Block, h *ledger.Header, list []due, later int) (*Summary, error) {
	l := n.Ledger()
	from, err := l.Lookup(CustomerName)
	if err != nil {
		return nil, err
	}
	decoded, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil, err
	}
	claims := make([]ledger.Claim, len(list))
	for i, o := range list {
		claims[i] = o.proof
	}
	done, err := l.Submit(ctx, from, ledger.Claims{Claims: claims})
	if err != nil {
		return nil, fmt.Errorf("network: claim: %w", err)
	}
	at := n.Addresses()
	return &Summary{
		ChainID: n.layout.ChainID, Height: done.Height, Epochs: head.Epoch - 1, Devices: len(n.devices()),
		Header: h.Hash, Counted: decoded.Totals.Counted, Refused: decoded.Totals.Refused, Claimed: n.tellPaid(list, later),
		Page: at.Page, API: at.API, RPC: at.RPC, REST: at.REST,
	}, nil
}

// maxOwners is how many owners a round names one by one.
const maxOwners = 16

// tellPaid reports who was paid how much, and returns the sum.
func (n *Network) tellPaid(list []due, later int) types.Ustone {
	names := map[types.Account]string{}
	if accounts, err := n.Ledger().Accounts(); err == nil { // an address does for a name
		for _, a := range accounts {
			names[a.Account] = a.Name
		}
	}
	paid, sum := map[types.Account]types.Ustone{}, types.Ustone(0)
	var owners []types.Account
	for _, o := range list {
		if _, ok := paid[o.device.Owner]; !ok {
			owners = append(owners, o.device.Owner)
		}
		paid[o.device.Owner] += o.amount()
		sum += o.amount()
	}
	slices.SortFunc(owners, func(a, b types.Account) int {
		return cmp.Or(cmp.Compare(paid[b], paid[a]), cmp.Compare(names[a], names[b]))
	})
	for _, a := range owners[:min(len(owners), maxOwners)] {
		share := paid[a] * 1000 / max(sum, 1)
		n.cfg.Progress(Step{Done: true, Text: fmt.Sprintf("%s claimed %s (%d.%d %%)", cmp.Or(names[a], a.String()), stone(paid[a]), share/10, share%10)})
	}
	count := fmt.Sprintf("%d owners", len(owners))
	if len(owners) == 1 {
		count = "1 owner"
	}
	text := fmt.Sprintf("%s claimed %s in all: little, as a minute's work costs little", count, stone(sum))
	if later > 0 {
		text += fmt.Sprintf("; %d more served and are paid by a later tally: cairn claim --all", later)
	}
	n.cfg.Progress(Step{Done: true, Text: text})
	return sum
}
