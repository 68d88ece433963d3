package wireless

import (
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// New returns the category. Callers do not change its Spec.
func New() tally.Verifier {
	return tally.Verifier{Spec: &spec, Verify: verify, Cross: cross, Subject: subject, CheckRules: CheckRules}
}

// subject returns the device that a witness's report is about.
func subject(e *evidence.Envelope) (types.Key, error) {
	if e.Kind != KindReport {
		return types.Key{}, types.Refuse(types.UnknownKind, "wireless: a report of kind %d", e.Kind)
	}
	r, err := pob.DecodeReport(e.Body)
	if err != nil {
		return types.Key{}, err
	}
	return r.Device, nil
}

// verify judges one device's epoch: first its test, by the line as it was when the epoch began; then what it hands in;
// then its asks and receipts. It panics on a State that it never wrote.
func verify(in *tally.Input) *tally.Output {
	state, err := DecodeState(in.State)
	if err != nil {
		panic(fmt.Errorf("wireless: device %s: %w", in.Device.Key, err))
	}
	j := &judge{in: in, state: state, rules: RulesIn(in.Params.Rules), out: &tally.Output{
		Evidence: make([]tally.Verdict, len(in.Evidence)),
		Reports:  make([]tally.Verdict, len(in.Reports)),
		Receipts: make([]types.Reason, len(in.Receipts)),
		Asks:     make([]types.Reason, len(in.Asks)),
	}}
	j.test()
	state.forget(in.Epoch)
	j.evidence()
	j.allow()
	j.asks()
	for i, item := range in.Receipts {
		j.out.Receipts[i] = j.receipt(item)
	}
	j.finish()
	return j.out
}

// judge is one call of Verify.
type judge struct {
	in    *tally.Input
	out   *tally.Output
	state *State
	rules *Rules
	here  bool // an endpoint counts
}

// totals are the category's sums over a region: devices that handed in an endpoint, bit/s that are proven of them.
const totals = 2

// test takes what the drawn verifiers report of the device's line.
func (j *judge) test() {
	said := make([]pob.Said, 0, len(j.in.Reports))
	var at []int // of the reports that can be read
	for i, e := range j.in.Reports {
		if e.Kind != KindReport {
			j.out.Reports[i].Reason = types.UnknownKind
			continue
		}
		r, err := pob.DecodeReport(e.Body)
		if err != nil {
			j.out.Reports[i].Reason = types.ReasonOf(err)
			continue
		}
		said, at = append(said, pob.Said{By: e.Author, Report: r}), append(at, i)
	}
	s := j.state
	if len(said) == 0 {
		return
	}
	if !j.in.Challenged || !s.tested() {
		for _, i := range at {
			j.out.Reports[i].Reason = pob.NotDrawn
		}
		return
	}
	clock := &pob.Clock{
		Chain: j.in.Chain, Epoch: j.in.Epoch, Seed: j.in.Seed, Time: j.in.Time, Rules: &j.rules.Test,
		Conductors: pob.NewConductors(j.in.Registry, j.in.Seed),
	}
	got := clock.Judge(&pob.Subject{
		Device: j.in.Device.Key, Prefix: s.Prefix, Claim: s.Share, Results: s.Results(),
		Members: j.in.Panel.Draw(j.in.Device, pob.ForTest),
	}, said)
	for k, reason := range got.Reasons {
		j.out.Reports[at[k]].Reason = reason
	}
	if got.Tested {
		s.read(Reading{j.in.Epoch, got.Capacity / 1000 * 1000}, got.Whole)
	}
}

// evidence takes what the device hands in: of endpoints the first that is in order.
func (j *judge) evidence() {
	for i, e := range j.in.Evidence {
		reason := &j.out.Evidence[i].Reason
		switch e.Kind {
		case KindEndpoint:
			*reason = j.endpoint(e.Body)
		case KindGrant:
			*reason = j.grant(e.Body)
		default:
			*reason = types.UnknownKind
		}
	}
}

func (j *judge) endpoint(body []byte) types.Reason {
	e, err := DecodeEndpoint(body)
	switch {
	case err != nil:
		return types.ReasonOf(err)
	case j.here:
		return types.OverQuota
	case e.Claim < pob.MinClaim || e.Claim > j.rules.Claim:
		return ClaimRange
	}
	s := j.state
	// What one line showed is nothing that another carries; and who is not tested with the others of its prefix shows
	// nothing of what they share.
	if e.Prefix != s.Prefix || !e.Tests {
		s.Last = Reading{}
	}
	s.Prefix, s.Claim, s.Tests = e.Prefix, e.Claim, e.Tests
	if s.Share = min(s.Share, s.Claim); !s.Tests {
		s.Share = 0
	}
	j.here = true
	return ""
}

func (j *judge) grant(body []byte) types.Reason {
	g, err := DecodeGrant(body)
	switch {
	case err != nil:
		return types.ReasonOf(err)
	case g.Permit.Device != j.in.Device.Key || !j.rules.issuer(g.Issuer) || g.Permit.Until > j.in.Epoch+MaxGrant || !g.Verify(j.in.Chain):
		return GrantUnproven
	case g.Permit.Until < j.in.Epoch:
		return GrantExpired
	}
	j.state.Grant = max(j.state.Grant, g.Permit.Until)
	return ""
}

// allowed is for how many epochs a device may catch up on being paid.
const allowed = 24

// allow brings the allowance to this epoch: twice what is claimed, as bytes go both ways, for each epoch's time.
func (j *judge) allow() {
	s := j.state
	s.Claim = min(s.Claim, j.rules.Claim) // the rules may have changed
	s.Share = min(s.Share, s.Claim)
	if s.Claim == 0 || len(j.in.Evidence)+len(j.in.Receipts) == 0 {
		return // the line says of which epoch it is
	}
	elapsed := types.Epoch(1) // a device that has not begun may be paid for one
	if s.Epoch != 0 {
		elapsed = min(j.in.Epoch-s.Epoch, allowed)
	}
	each := 2 * s.Claim * uint64(j.rules.Seconds) / 8
	s.Allowance = min(s.Allowance+uint64(elapsed)*each, allowed*each)
	s.Epoch = j.in.Epoch
}

// asks judges what the device offers, by what is proven now. Receipts under an ask that is refused still count: what a
// customer signed for was carried.
func (j *judge) asks() {
	for i, a := range j.in.Asks {
		t, err := DecodeTerms(a.Terms, a.Class)
		switch {
		case err != nil:
			j.out.Asks[i] = TermsUnknown
		case a.Class == Cell && j.state.Grant < j.in.Epoch:
			j.out.Asks[i] = GrantExpired
		case !j.state.Reaches(t.Speed):
			j.out.Asks[i] = SpeedUnproven
		}
	}
}

// receipt returns why a receipt does not count, or "".
func (j *judge) receipt(item *tally.ReceiptItem) types.Reason {
	r := item.Receipt
	if !j.terms(item) {
		return TermsUnknown
	}
	if most, err := r.Units.MulDiv(item.Price, Scale); err != nil || types.U64(uint64(r.Amount)).Cmp(most) > 0 {
		return Overpriced
	}
	more, err := r.Units.Sub(item.Units)
	if err != nil || more.IsZero() {
		return "" // nothing new: the protocol's own rules say what becomes of it
	}
	if item.Class == Cell && j.state.Grant < j.in.Epoch {
		return GrantExpired
	}
	n, fits := more.Uint64()
	if !fits || n > j.state.Allowance {
		return OverCapacity
	}
	j.state.Allowance -= n
	return ""
}

// terms reports whether the terms of a receipt's ask can be read. Those of a session that opened before were then.
func (j *judge) terms(item *tally.ReceiptItem) bool {
	for _, a := range j.in.Asks {
		if a.Hash() == item.Receipt.Terms {
			return readable(a, item.Class)
		}
	}
	return item.Opened
}

func readable(a *receipt.Ask, class types.Class) bool {
	_, err := DecodeTerms(a.Terms, class)
	return err == nil
}

// finish says what the epoch comes to. At what rate a device is tested next Cross says, which adds up the claims of its
// prefix; until then that is its own.
func (j *judge) finish() {
	s, out := j.state, j.out
	out.Quality = s.Quality()
	out.Totals = make([]uint64, totals)
	if j.here {
		proven := s.Proven()
		out.Ordered = []tally.Ordered{{Class: Tunnel, Units: types.U64(proven * Window / 8000)}}
		out.Totals = []uint64{1, proven}
	}
	if s.Claim == 0 && s.Grant == 0 {
		return // it has not begun
	}
	if s.Here = j.here; s.Here && s.Tests {
		s.Share = s.Claim
	}
	out.State = s.Encode()
	if s.Here && s.Tests {
		out.Summary = out.State
	}
}
