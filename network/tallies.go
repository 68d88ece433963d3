package network

import (
	"context"
	"fmt"
	"io"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/verifier"
)

// tallies lets the page read what verifier 0 keeps, or the next one that runs.
type tallies struct{ n *Network }

var _ explorer.Tallies = (*tallies)(nil)

// Digest implements explorer.Tallies.
func (t *tallies) Digest(ctx context.Context, e types.Epoch, region types.Region) (*explorer.Digest, error) {
	h, err := t.n.Ledger().Header(ctx, e, region)
	if err != nil {
		return nil, err
	}
	v, err := t.verifier(region)
	if err != nil {
		return nil, err
	}
	report, err := v.Report(h.Hash)
	if types.ReasonOf(err) == types.UnknownBlob {
		return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	d := new(explorer.Digest)
	for _, line := range report.Devices {
		d.Lines = append(d.Lines, explorer.Line{Device: line.Device, Category: line.Category, Quality: line.Quality, Paid: line.Paid})
	}
	type count struct {
		device types.Key
		reason types.Reason
	}
	at := map[count]int{}
	for _, r := range report.Refused {
		key := count{r.Device, r.Reason}
		i, ok := at[key]
		if !ok {
			i = len(d.Refusals)
			at[key] = i
			d.Refusals = append(d.Refusals, explorer.Refusal{Device: r.Device, Reason: r.Reason})
		}
		d.Refusals[i].Count++
	}
	for i := range d.Lines {
		claim, err := v.ProofOf(d.Lines[i].Device, h)
		if types.ReasonOf(err) == types.UnknownBlob {
			return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err) // not adopted yet: the page asks again
		}
		if err != nil {
			return nil, fmt.Errorf("amount of %v: %w", d.Lines[i].Device, err)
		}
		d.Lines[i].Amount = claim.Leaf.Amount
	}
	return d, nil
}

// Claim implements explorer.Tallies.
func (t *tallies) Claim(ctx context.Context, device types.Key) (*ledger.Claim, error) {
	d, err := t.n.Ledger().Device(ctx, device)
	if err != nil {
		return nil, err
	}
	v, err := t.verifier(d.Region)
	if err != nil {
		return nil, err
	}
	c, err := v.Proof(ctx, device, false)
	return &c, err
}

// Bundle implements explorer.Tallies.
func (t *tallies) Bundle(ctx context.Context, e types.Epoch, region types.Region, w io.Writer) error {
	if region >= types.Region(t.n.layout.Regions) {
		return types.Refuse(types.WrongRegion, "network: region %d of %d", region, t.n.layout.Regions)
	}
	v, err := t.verifier(region)
	if err != nil {
		return err
	}
	return v.WriteBundle(ctx, e, w)
}

// verifier returns verifier 0 of a region, if it has been started.
func (t *tallies) verifier(region types.Region) (*verifier.Verifier, error) {
	if v := t.n.VerifierIn(0, region); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("network: the verifier of region %d has not started: %w", region, ledger.ErrNotFound)
}

// abstaining says how the verifiers of this home stand, for the page.
func (n *Network) abstaining() []explorer.Verifier {
	out := make([]explorer.Verifier, 0, len(n.verifiers))
	for i := range n.verifiers {
		engine := n.Verifier(i)
		if engine == nil {
			continue
		}
		v := explorer.Verifier{Key: engine.Key()}
		for _, a := range engine.Abstained() {
			v.Abstains = append(v.Abstains, explorer.Abstention(a))
		}
		out = append(out, v)
	}
	return out
}
