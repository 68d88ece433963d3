package compute

import (
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// New returns the category. Callers do not change its Spec.
func New() tally.Verifier {
	return tally.Verifier{Spec: &spec, Verify: verify, Subject: subject, CheckRules: CheckRules}
}

// subject returns the device that a witness's report is about.
func subject(e *evidence.Envelope) (types.Key, error) {
	switch e.Kind {
	case KindSighting:
		s, err := DecodeSighting(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return s.Device, nil
	case KindAudit:
		a, err := DecodeAudit(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return a.Device, nil
	case KindFault:
		f, err := DecodeFault(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return f.Device, nil
	}
	return types.Key{}, types.Refuse(types.UnknownKind, "compute: a report of kind %d", e.Kind)
}

// verify judges one device's epoch: faults first, then audits of what it committed to two epochs before; then
// what it commits to and is paid for now; then its checks, and what they and its offer make of network-ordered
// units. It panics on a State that it never wrote.
//
// Reports that establish something against the device are recorded under what they establish; those of an
// honest check or audit are accepted.
func verify(in *tally.Input) *tally.Output {
	state, err := DecodeState(in.State)
	if err != nil {
		panic(fmt.Errorf("compute: device %s: %w", in.Device.Key, err))
	}
	out := &tally.Output{Quality: state.Quality, State: in.State, Totals: make([]uint64, totals)}
	if len(in.Evidence)+len(in.Reports)+len(in.Receipts) == 0 {
		return out // the line says of which epoch it is: nothing in it needs to move
	}
	out.Evidence = make([]tally.Verdict, len(in.Evidence))
	out.Reports = make([]tally.Verdict, len(in.Reports))
	out.Receipts = make([]types.Reason, len(in.Receipts))
	j := &judge{in: in, out: out, state: state, hardware: RulesIn(in.Params.Rules).Hardware(in.Device.Model)}
	j.advance()
	j.faults()
	j.audits()
	j.offer()
	j.results()
	j.receipts()
	j.checks()
	j.unknown()
	if j.offered {
		units := min(state.Ready(), uint64(state.Free)*Quota)
		out.Ordered = []tally.Ordered{{Class: Wasm, Units: types.U64(units)}}
		out.Totals = []uint64{1, uint64(state.Free), units}
	}
	out.Quality = state.Quality
	out.State = state.Encode()
	return out
}

// totals are the category's sums over a region: devices that offer, quotas that they hold ready, wu that the
// network orders.
const totals = 3

// judge is one call of Verify.
type judge struct {
	in       *tally.Input
	out      *tally.Output
	state    *State
	hardware Hardware

	audited Commitment                        // of AuditDelay epochs ago
	before  uint16                            // free slots, as offered in the epoch before
	offered bool                              // an offer counts
	covered map[types.SessionID]*coverage     // by this epoch's results
	paid    bool                              // a receipt of this epoch shows more units
	seen    map[evidence.Kind]map[string]bool // reports that count once
}

// allowed is for how many epochs a device may catch up on being paid.
const allowed = 24

// epochTime is an epoch's length in milliseconds where an epoch is an hour.
const epochTime = 3_600_000

// advance brings the line from the epoch of the tally that wrote it to this one.
func (j *judge) advance() {
	s, e := j.state, j.in.Epoch
	fill := uint64(j.hardware.Slots) * epochTime // of one epoch
	elapsed := uint64(1)                         // a device that has not begun may be paid for one
	if s.Epoch != 0 {
		elapsed = uint64(e - s.Epoch) // of a tally's own states above 0
	}
	var last Commitment
	j.audited = s.Audited(e)
	if s.Epoch != 0 && elapsed == 1 {
		j.before, last = s.Free, s.Results[0]
	}
	s.Results = [2]Commitment{1: last}
	s.Allowance = min(s.Allowance+min(elapsed, allowed)*fill, allowed*fill)
	s.Epoch, s.Free = e, 0
}

// raise is what a check or an audit that was passed does to quality.
func (s *State) raise() { s.Quality += (FullQuality - s.Quality) / 16 }

// fail is what a fault or a failed audit does.
func (s *State) fail() {
	s.Quality, s.Passed = FaultyQuality, 0
	if s.Faults < 1<<8-1 {
		s.Faults++
	}
	epochs := types.Epoch(maxSuspension)
	if s.Faults < 6 { // 24·2⁵ is above the most
		epochs = min(epochs, suspension<<(s.Faults-1))
	}
	s.Suspended = max(s.Suspended, s.Epoch+epochs)
}

// suspended reports whether what the device offers in this epoch has no weight.
func (j *judge) suspended() bool { return j.state.Suspended >= j.in.Epoch }

// refuse records why a report does not count, or what it establishes.
func (j *judge) refuse(report int, reason types.Reason) { j.out.Reports[report].Reason = reason }

// offer takes the device's offer.
func (j *judge) offer() {
	for i, e := range j.in.Evidence {
		if e.Kind != KindOffer {
			continue
		}
		o, err := DecodeOffer(e.Body)
		reason := &j.out.Evidence[i].Reason
		switch {
		case err != nil:
			*reason = types.ReasonOf(err)
		case j.offered:
			*reason = types.OverQuota
		case o.Free > j.hardware.Slots:
			*reason = OverCapacity
		case j.suspended():
			*reason = SuspendedHere
		default:
			j.offered, j.state.Free = true, o.Free
		}
	}
}

// coverage is what this epoch's results show of one session.
type coverage struct {
	next        uint64 // index of the leaf that would follow
	before, end uint64 // units that are covered, from and up to
	payer       types.Key
}

// results takes what the device commits to, session by session.
func (j *judge) results() {
	j.covered = map[types.SessionID]*coverage{}
	var hashes []types.Hash
	for i, e := range j.in.Evidence {
		if e.Kind != KindResults {
			continue
		}
		r, err := DecodeResults(e.Body)
		if err != nil {
			j.out.Evidence[i].Reason = types.ReasonOf(err)
			continue
		}
		switch c := j.covered[r.Session]; {
		case len(hashes) == 1<<16-1:
			j.out.Evidence[i].Reason = types.OverQuota
			continue
		case c == nil:
			j.covered[r.Session] = &coverage{next: r.First + uint64(r.Count), before: r.Before, end: r.End()}
		case r.First != c.next || r.Before != c.end:
			j.out.Evidence[i].Reason = ResultsOrder
			continue
		default:
			c.next, c.end = r.First+uint64(r.Count), r.End()
		}
		hashes = append(hashes, e.Hash)
	}
	if len(hashes) > 0 {
		j.state.Results[0] = Commit(hashes)
	}
}

// receipts judges what customers signed.
func (j *judge) receipts() {
	for i, item := range j.in.Receipts {
		j.out.Receipts[i] = j.receipt(item)
		if j.out.Receipts[i] == "" && item.Receipt.Units.Cmp(item.Units) > 0 {
			j.paid = true
		}
	}
}

func (j *judge) receipt(item *tally.ReceiptItem) types.Reason {
	r := item.Receipt
	if !j.terms(item) {
		return TermsUnknown
	}
	most, err := r.Units.MulDiv(item.Price, scaleOf(item.Class))
	if err != nil || types.U64(uint64(r.Amount)).Cmp(most) > 0 {
		return Overpriced
	}
	c := j.covered[r.Session]
	if c != nil && item.Class != Wasm {
		return ClassMismatch
	}
	more, err := r.Units.Sub(item.Units)
	if err != nil || more.IsZero() {
		return "" // nothing new: the protocol's own rules say what becomes of it
	}
	switch item.Class {
	case Wasm:
		// A session's id belongs to its payer: what backs one payer's receipt backs no other's.
		if c == nil || r.Units.Cmp(types.U64(c.end)) > 0 || item.Units.Cmp(types.U64(c.before)) < 0 || !c.payer.IsZero() && c.payer != r.Payer {
			return NoResult
		}
		c.payer = r.Payer
	case OCI:
		n, fits := more.Uint64()
		if !fits || n > j.state.Allowance {
			return OverCapacity
		}
		j.state.Allowance -= n
	}
	return ""
}

// terms reports whether a receipt's ask was made for its session. That of a session that opened before was
// looked at then.
func (j *judge) terms(item *tally.ReceiptItem) bool {
	for _, a := range j.in.Asks {
		if a.Hash() == item.Receipt.Terms {
			t, err := DecodeTerms(a.Terms, item.Class)
			return err == nil && t.Session == item.Receipt.Session
		}
	}
	return item.Opened
}

// scaleOf returns the scale of a class's prices.
func scaleOf(c types.Class) uint64 {
	for i := range spec.Classes {
		if spec.Classes[i].Class == c {
			return spec.Classes[i].Scale
		}
	}
	return 1
}

// unknown refuses evidence of kinds that there are not.
func (j *judge) unknown() {
	for i, e := range j.in.Evidence {
		if e.Kind < KindOffer || e.Kind > KindCheck {
			j.out.Evidence[i].Reason = types.UnknownKind
		}
	}
	for i, e := range j.in.Reports {
		if e.Kind < KindSighting || e.Kind > KindFault {
			j.out.Reports[i].Reason = types.UnknownKind
		}
	}
}

// once reports whether an author reports a thing of a kind for the first time.
func (j *judge) once(kind evidence.Kind, author types.Key, what []byte) bool {
	if j.seen == nil {
		j.seen = map[evidence.Kind]map[string]bool{}
	}
	if j.seen[kind] == nil {
		j.seen[kind] = map[string]bool{}
	}
	key := string(author[:]) + string(what)
	was := j.seen[kind][key]
	j.seen[kind][key] = true
	return !was
}

// panel returns who decides for a purpose, and how many of them may lie.
func (j *judge) panel(purpose string) (members []types.Key, f int) {
	return Panel(j.in.Panel.Draw(j.in.Device, purpose))
}

// member reports whether a key is one of a panel's.
func member(members []types.Key, k types.Key) bool { return slices.Contains(members, k) }
