package network

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/verifier"
)

// generous is a liar's rule: every device passes once more than it did.
func generous(v service.Verifier) service.Verifier {
	verify := v.Verify
	v.Verify = func(in *service.Input) *service.Output {
		out := verify(in)
		if s, err := storage.DecodeState(out.State); err == nil && len(out.State) > 0 {
			s.Passes++
			out.State = s.Encode()
		}
		return out
	}
	return v
}

// panel watches the tallies of a network with several verifiers.
type panel struct {
	*testing.T
	n    *Network
	keys []types.Key // of the verifiers
}

func newPanel(t *testing.T, n *Network) *panel {
	p := &panel{T: t, n: n}
	for i := range n.verifiers {
		keys, err := n.keys(i)
		if err != nil {
			t.Fatal(err)
		}
		p.keys = append(p.keys, keys.Attestation.Public())
	}
	return p
}

// epoch is the current one.
func (p *panel) epoch() types.Epoch {
	p.Helper()
	head, err := p.n.Ledger().Head(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return head.Epoch
}

// headers lists the newest headers, the newest first.
func (p *panel) headers() []*ledger.Header {
	p.Helper()
	headers, err := p.n.Ledger().Headers(p.Context(), 0, 100)
	if err != nil {
		p.Fatal(err)
	}
	return headers
}

// next waits for the tally of an epoch from e on to be decided, and returns it: accepted or skipped.
func (p *panel) next(e types.Epoch, what string, want ...ledger.Status) *ledger.Header {
	p.Helper()
	var found *ledger.Header
	until(p.T, 3*time.Minute, what, func() bool {
		for _, h := range slices.Backward(p.headers()) {
			if h.Epoch >= e && slices.Contains(want, h.Status) {
				found = h
				return true
			}
		}
		return false
	})
	return found
}

// taken are the states of a header that was accepted, whatever came after.
var taken = []ledger.Status{ledger.Accepted, ledger.Appealed, ledger.Final}

// signed reports whether verifier i's signature is under an accepted header, and how many are.
func (p *panel) signed(h *ledger.Header, i int) (did bool, all int) {
	p.Helper()
	e, err := p.n.Ledger().Epoch(p.Context(), h.Epoch)
	if err != nil {
		p.Fatal(err)
	}
	for at, v := range e.Verifiers {
		if h.Bitmap[at/8]>>(at%8)&1 == 1 {
			all++
			did = did || v.Key == p.keys[i]
		}
	}
	return did, all
}

// isRight recomputes an accepted header by the real rules.
func (p *panel) isRight(h *ledger.Header) {
	p.Helper()
	var bundle *verifier.Bundle
	until(p.T, time.Minute, "a verifier has the batch", func() (ok bool) {
		for i := range p.n.verifiers {
			var err error
			if bundle, err = p.n.Verifier(i).Bundle(p.Context(), h.Epoch); err == nil {
				return true
			}
		}
		return false
	})
	check, err := verifier.Recompute(bundle, h.Hash, 1, []tally.Verifier{storage.New()}, 1)
	if err != nil || !check.Equal {
		p.Errorf("epoch %d: %+v: %v", h.Epoch, check, err)
	}
}

// start starts a verifier again.
func (p *panel) start(i int) {
	p.Helper()
	if err := p.n.StartVerifier(p.Context(), i); err != nil {
		p.Fatal(err)
	}
}

// caughtUp waits until verifiers sign again.
func (p *panel) caughtUp(list ...int) {
	p.Helper()
	for _, i := range list {
		until(p.T, 3*time.Minute, fmt.Sprintf("verifier %d signs again", i), func() bool {
			did, _ := p.signed(p.next(max(p.epoch(), 2)-1, "a header", taken...), i)
			return did
		})
	}
}

// TestFourVerifiers takes a network with four through what may befall them: headers need three, whoever they
// are. With two there is none and the epoch is skipped. One that computes by other rules, or a header that only
// one signed, changes nothing. Who was away catches up.
func TestFourVerifiers(t *testing.T) {
	whole(t)
	n, summary, err := begin(t.Context(), Config{Home: t.TempDir(), Log: logTo(""), Validators: 4, Homes: -1, BlockTime: quick})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	p := newPanel(t, n)
	if summary.Counted == 0 || summary.Claimed == 0 {
		t.Errorf("%+v", summary)
	}

	// One computes by other rules: the header is that of the others.
	n.StopVerifier(2)
	honest := n.cfg.Rules
	n.cfg.Rules = nil
	for _, r := range honest {
		n.cfg.Rules = append(n.cfg.Rules, generous(r))
	}
	e := p.epoch() + 1
	p.start(2)
	n.cfg.Rules = honest
	h := p.next(e, "a header in spite of a liar", taken...)
	if did, all := p.signed(h, 2); did || all != 3 {
		t.Errorf("the liar signed: %v; %d did", did, all)
	}
	p.isRight(h)
	n.StopVerifier(2)

	// With that one gone, three are enough; with another gone, none can be.
	h = p.next(p.epoch()+1, "a header of three", taken...)
	if did, all := p.signed(h, 2); did || all != 3 {
		t.Errorf("verifier 2, which is stopped, signed: %v; %d did", did, all)
	}
	n.StopVerifier(0)
	e = p.epoch() + 1
	p.forged()
	if h := p.next(e, "what two of four make", append(taken, ledger.Skipped)...); h.Status != ledger.Skipped {
		t.Errorf("two of four verifiers, and epoch %d is %s", h.Epoch, h.Status)
	}
	p.start(0)
	p.start(2)
	p.caughtUp(0, 2)
	h = p.next(p.epoch()-1, "a header of all", taken...)
	p.isRight(h)
	supply, err := n.Ledger().Supply(t.Context())
	if err != nil || !supply.Balanced {
		t.Errorf("%+v: %v", supply, err)
	}
}

// forged has the leader of a round hand in a header of its own making, which it alone has signed. All else
// about it is in order; two verifiers are stopped, so that no better header is in its way.
func (p *panel) forged() {
	p.Helper()
	l := p.n.Ledger()
	ctx, cancel := context.WithTimeout(p.Context(), 2*time.Minute)
	defer cancel()
	from, err := l.Lookup(CustomerName) // anybody may send it
	if err != nil {
		p.Fatal(err)
	}
	for block := range l.Watch(ctx) {
		if block.Epoch < 2 {
			continue
		}
		e, err := l.Epoch(ctx, block.Epoch-1)
		if err != nil {
			p.Fatal(err)
		}
		round, in := e.RoundAt(block.Height + 1)
		if later, still := e.RoundAt(block.Height + 3); !in || !still || later != round || e.Seed.IsZero() {
			continue
		}
		leader := e.Leaders[0][round]
		keys, err := p.n.keys(slices.Index(p.keys, leader))
		if err != nil {
			p.Fatal(err)
		}
		last := p.next(1, "a header", taken...)
		for _, h := range p.headers() {
			if slices.Contains(taken, h.Status) && h.Epoch > last.Epoch {
				last = h
			}
		}
		h, err := tally.DecodeHeader(last.Raw)
		if err != nil {
			p.Fatal(err)
		}
		h.Epoch, h.Round, h.Leader, h.Previous = e.Epoch, round, leader, last.Hash
		h.VRF = beacon.Prove(keys.VRF, l.Chain(), e.Seed, 0)
		h.State = types.Sum([]byte("a state that nothing leads to"))
		hash := h.Hash()
		at := slices.IndexFunc(e.Verifiers, func(v tally.Attester) bool { return v.Key == leader })
		bitmap := make([]byte, (len(e.Verifiers)+7)/8)
		bitmap[at/8] |= 1 << (at % 8)
		_, err = l.Submit(ctx, from, ledger.Commit{Header: h.Encode(), Bitmap: bitmap, Signatures: []types.Signature{keys.Attestation.Sign("header", l.Chain(), hash[:])}})
		switch reason := types.ReasonOf(err); reason {
		case types.LowPower:
			return
		case types.HeaderRound, types.WrongEpoch, types.HeaderKnown:
			continue // it came too late: once more
		default:
			p.Fatalf("a header that one of four signed: %v", err)
		}
	}
	p.Error("no forged header got through to the count of its signatures")
}
