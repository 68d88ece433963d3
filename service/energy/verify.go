package energy

import (
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// verifier judges the category's evidence and clears the region. It keeps nothing.
type verifier struct {
	limits Thresholds
	off    rule // checks that a test has turned off
}

// New returns the category. Callers do not change its Spec.
func New() tally.Verifier { return With(DefaultThresholds()) }

// With returns the category with other thresholds, for those who study them. A network's verifiers all hold the
// same ones.
func With(t Thresholds) tally.Verifier { return verifier{limits: t}.category() }

func (v verifier) category() tally.Verifier {
	return tally.Verifier{Spec: &spec, Verify: v.verify, Cross: v.cross, CheckRules: CheckRules}
}

// CheckRules says what is wrong with rules that somebody wants to put in force; empty ones are the defaults.
func CheckRules(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	_, err := DecodeRules(raw)
	return err
}

// verify judges one device's epoch: what it declares and reads, in order, against itself and the sky. What is
// over by then goes into the Summary as flows. A State that Verify did not write counts as none.
func (v verifier) verify(in *tally.Input) *tally.Output {
	s, err := DecodeState(in.State)
	if err != nil {
		s = new(State)
	}
	j := &judge{in: in, rules: v, state: s, done: clockOf(in.Params.Rules).Done(in.Time), out: &tally.Output{
		Evidence: make([]tally.Verdict, len(in.Evidence)),
		Reports:  make([]tally.Verdict, len(in.Reports)),
		Receipts: make([]types.Reason, len(in.Receipts)),
		Asks:     make([]types.Reason, len(in.Asks)),
	}}
	for i := range in.Reports {
		j.out.Reports[i].Reason = types.UnknownKind // the category has no witnesses
	}
	for i := range in.Receipts {
		j.out.Receipts[i] = ByOrder
	}
	for i, a := range in.Asks {
		j.out.Asks[i] = s.ask(a)
	}
	if s.Done == 0 || s.Site.Grid.IsZero() {
		s.Done = j.done // it was there for no clearing
	}
	if s.Taken {
		s.Named = j.done // as long as another device has the meter, what it counts is the other's
	}
	for i, e := range in.Evidence {
		j.out.Evidence[i].Reason = j.evidence(e)
	}
	flows := j.settle()
	s.Done = j.done
	j.out.Quality = s.Quality()
	j.out.State = s.Encode()
	if !s.Site.Grid.IsZero() {
		j.out.Totals = []uint64{1, uint64(s.Site.PDC)}
		j.out.Summary = summarize(flows, j.out.State)
	}
	return j.out
}

// judge is one call of Verify.
type judge struct {
	in       *tally.Input
	rules    verifier
	state    *State
	done     uint64 // the first interval that is not over
	sky      *Sky   // nil until it is asked
	place    Place
	altitude uint8 // of place, in hundreds of metres
	out      *tally.Output
}

// on reports whether a check is made.
func (v verifier) on(r rule) bool { return v.off&r == 0 }

// evidence takes one envelope over, or returns why not; then it changes nothing.
func (j *judge) evidence(e *evidence.Envelope) types.Reason {
	var err error
	switch e.Kind {
	case KindSite:
		var site *Site
		if site, err = DecodeSite(e.Body); err == nil {
			return j.site(site)
		}
	case KindMeter:
		var records []Record
		if records, err = DecodeMeter(e.Body, nil); err == nil {
			return j.meter(records)
		}
	case KindReset:
		var reset *Reset
		if reset, err = DecodeReset(e.Body); err == nil {
			return j.reset(reset)
		}
	default:
		return types.UnknownKind
	}
	return types.ReasonOf(err)
}

// site declares what the device is. The same again changes nothing; another one starts commissioning anew, and
// what waits is lost.
func (j *judge) site(site *Site) types.Reason {
	s := j.state
	if cell := j.in.Device.Cell; !cell.Valid() || cell.Resolution() < 3 {
		return SiteTerms
	}
	if *site == s.Site {
		return ""
	}
	if s.alarm(&j.rules.limits) {
		s.Alarms |= 1 // the day had it, whatever it is held against from here on
	}
	if s.names(site) {
		s.Named = j.done
	}
	s.Since = s.since(site, j.in.Epoch)
	for i := range s.Pending {
		more(&s.Sums.Gap, s.Pending[i].Wh[Export])
	}
	s.Site, s.Pending, s.Present = *site, nil, 0
	s.Unshown, s.Unlit = 0, 0
	s.Stored, s.Peak, s.PeerEnvelope, s.Commissioned, s.Ratios, s.Base, s.FirstBase, s.Ahead, s.AheadNow = 0, 0, 0, 0, nil, 0, 0, 0, 0
	s.Over, s.PeerDay, s.Clear, s.Bright = false, 0, 0, false
	return ""
}

// names reports whether a site has a meter that the one before had not.
func (s *State) names(site *Site) bool {
	old := s.Site.roles()
	return slices.ContainsFunc(site.meterIDs(), func(m types.Hash) bool { return !slices.Contains(old[:], m) })
}

// since returns when the meters of a new site were first named: those that the old one had keep their time.
func (s *State) since(site *Site, now types.Epoch) (since [meterRoles]types.Epoch) {
	for i, meter := range site.roles() {
		if meter.IsZero() {
			continue
		}
		since[i] = now
		for k, old := range s.Site.roles() {
			if old == meter {
				since[i] = s.Since[k]
			}
		}
	}
	return since
}

// reset begins a register anew. What flowed between its two readings, and in the interval in which it happened,
// is nobody's.
func (j *judge) reset(r *Reset) types.Reason {
	s := j.state
	switch {
	case s.Site.Grid.IsZero():
		return SiteUnknown
	case r.Last != s.Wh[r.Register]:
		return ResetLast
	case r.First > MaxRegister:
		return types.BadEncoding
	}
	s.Wh[r.Register] = r.First
	s.Present &^= 1 << r.Register
	return ""
}

// meter takes a run of records over, all or none.
func (j *judge) meter(records []Record) types.Reason {
	s := j.state
	switch {
	case s.Site.Grid.IsZero():
		return SiteUnknown
	case s.Taken && j.rules.on(ruleMeters):
		return MeterTaken
	}
	// Nothing but Pending is shared with the copy, and it is only appended to.
	next := *s
	next.Pending = next.Pending[:len(next.Pending):len(next.Pending)]
	for i := range records {
		if reason := j.record(&next, &records[i]); reason != "" {
			return reason
		}
	}
	*s = next
	return ""
}

// record takes one record over, or returns what is wrong with it.
func (j *judge) record(s *State, r *Record) types.Reason {
	switch {
	case r.K <= s.K && s.K > 0:
		return IntervalOrder
	case r.K >= j.done && r.K-j.done >= MaxPending:
		return IntervalFuture
	case r.K < j.done && j.done-r.K > MaxLate:
		return IntervalLate
	}
	var wh [Registers]uint64
	for i := range wh {
		switch {
		case !r.Present.Has(Register(i)):
		case r.Wh[i] > MaxRegister:
			return types.BadEncoding // a line could not hold it
		case r.Wh[i] < s.Wh[i] && j.rules.on(ruleDrop):
			return RegisterDrop
		case r.Wh[i] >= s.Wh[i]:
			wh[i] = r.Wh[i] - s.Wh[i]
		}
	}
	begins := s.K == 0
	if begins && s.V == 0 {
		s.V, wh[Export] = r.Wh[Export], 0 // the virtual register begins where the meter stands
	}
	if wh[Export] > maxVirtual-s.V {
		return types.EconRange
	}
	if !begins {
		v := Interval{K: r.K, Late: r.K < s.Done, Known: r.Present & s.Present, Wh: wh, From: s.V}
		// What another device's readings of the meters may hold is nobody's.
		named := s.K+1 >= s.Named || !j.rules.on(ruleNamed)
		if span := r.K - s.K; named && (span <= MaxSpan || !j.rules.on(ruleGap)) {
			v.Span = uint8(min(span, MaxSpan))
		}
		for i := Import; i < Registers; i++ {
			if !v.Known.Has(i) {
				v.Wh[i] = 0
			}
		}
		for i := range Registers {
			if whole := r.Wh[i] > 0 && r.Wh[i]%Whole == 0 && s.Wh[i]%Whole == 0; v.Known.Has(i) && whole {
				v.Whole |= 1 << i
			}
		}
		if v.Whole.Has(Charge) {
			v.Whole |= 1 << Discharge
		}
		v.Whole = unpack(v.Whole.pack())
		s.Pending = append(s.Pending, v)
		more(&s.Sums.Exported, wh[Export])
	}
	s.V += wh[Export]
	s.K, s.Boot, s.Present = r.K, r.Boot, r.Present
	for i := range wh {
		if r.Present.Has(Register(i)) {
			s.Wh[i] = r.Wh[i]
		}
	}
	return ""
}

// settle judges the intervals that are over, and leaves the others to wait.
func (j *judge) settle() []Flow {
	s := j.state
	n := 0
	for n < len(s.Pending) && s.Pending[n].K < j.done {
		n++
	}
	if n == 0 {
		return nil
	}
	flows := make([]Flow, n)
	for i := range flows {
		flows[i] = j.flow(&s.Pending[i])
	}
	s.Pending = s.Pending[n:]
	return flows
}

// Quality returns the device's quality in basis points: what its meters can show, times how much of the last
// seven days they did.
func (s *State) Quality() types.Bp {
	q := uint64(econ.Bps)
	switch {
	case s.Site.Grid.IsZero():
		return 0
	case s.meters() == 1:
		q = 3_000
	case int(s.Commissioned) < DefaultThresholds().Commissioning:
		q = 5_000
	case s.PeerEnvelope == 0:
		q = 8_000
	}
	present := uint64(0)
	for _, n := range s.Counts {
		present += uint64(n)
	}
	return types.Bp(q * min(present, window*dayRecords) / (window * dayRecords))
}

// more adds to a sum that stays at its greatest value.
func more(sum *uint64, wh uint64) { *sum = min(*sum+wh, 1<<63-1) }
