package pob

import (
	"bytes"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Subject is a device as an epoch's test finds it: what the tally knows of it as the epoch begins.
type Subject struct {
	Device  types.Key
	Prefix  Prefix
	Claim   uint64      // bit/s
	Results int         // that it has; a device with Young or more is tested with its whole prefix alone
	Members []types.Key // its challengers, in the order in which they were drawn (tally.Panel, ForTest), at most Seats
}

// Test is the test of one device that a start begins.
type Test struct {
	Subject
	Instant
	Chain   string
	ID      ID
	Rules   *Rules
	Packets uint32 // of each challenger
}

// Test returns the test of a device that a start begins: pob_bad_start if it begins none, pob_not_drawn if this device
// is not tested by it, pob_void if there are too few challengers.
func (c *Clock) Test(d *Subject, s *Start) (*Test, error) {
	if s.Prefix != d.Prefix || !c.Rules.Drawn(c.Seed, s.Prefix).Tests(d.Results) || d.Claim < MinClaim || d.Claim > MaxClaim {
		return nil, types.Refuse(NotDrawn, "wireless: a device in %v with %d results and a claim of %d bit/s is not tested in epoch %d",
			d.Prefix, d.Results, d.Claim, c.Epoch)
	}
	at, err := c.Begin(s)
	if err != nil {
		return nil, err
	}
	n := len(d.Members)
	if n < int(c.Rules.Least) || n > Seats {
		return nil, types.Refuse(Void, "wireless: %d challengers, want %d to %d", n, c.Rules.Least, Seats)
	}
	return &Test{Subject: *d, Instant: at, Chain: c.Chain, ID: at.ID(d.Device), Rules: c.Rules, Packets: c.Rules.Packets(d.Claim, n)}, nil
}

// Bytes returns how many bytes a challenger's report shows that came to the device, and else why none: pob_no_reply,
// pob_prefix, pob_late, pob_bad_reply or pob_tag_mismatch. Whether challengers are related it does not look at.
func (t *Test) Bytes(challenger types.Key, r *Report) (uint64, error) {
	switch {
	case r.Reply == nil:
		return 0, types.Refuse(NoReply, "wireless: no reply")
	case r.Prefix != t.Prefix:
		return 0, types.Refuse(OtherPrefix, "wireless: the device dialled from %v, it is in %v", r.Prefix, t.Prefix)
	case r.Arrival > t.Rules.Send+t.Rules.Reply:
		return 0, types.Refuse(Late, "wireless: the reply came after %d ms", r.Arrival)
	case r.Reply.Reply.Test != t.ID || r.Reply.Reply.Challenger != challenger || !r.Reply.Verify(t.Chain, t.Device):
		return 0, types.Refuse(BadReply, "wireless: not a reply of %v to %v", t.Device, challenger)
	}
	return r.Reply.Reply.count((*[32]byte)(&r.Secret), t.Packets)
}

// Combine returns the capacity in bit/s that the bytes of a test's challengers prove, of those n that were drawn: that of
// the n−f smallest, within the window, and at most the claim. Whoever reported nothing counts 0; void says that fewer
// than n−f reported, which proves nothing.
func Combine(r *Rules, claim uint64, n int, reported []uint64) (capacity uint64, void bool) {
	f := Liars(n)
	if len(reported) > n || len(reported) < n-f {
		return 0, true
	}
	all := append(make([]uint64, n-len(reported)), reported...)
	slices.Sort(all)
	sum := uint64(0)
	for _, b := range all[:n-f] {
		sum += b
	}
	return min(8*1000*sum/r.Window(), claim), false
}

// Said is a report with who said it, which the envelope's signature shows.
type Said struct {
	By     types.Key
	Report *Report
}

// Result is what the reports about one device prove in an epoch.
type Result struct {
	Tested   bool   // there is a result; else the device keeps what it has
	Whole    bool   // the whole prefix was tested at this instant
	Capacity uint64 // bit/s
	Bytes    []uint64
	// Reasons has one for each report. With no_reply, prefix, late, bad_reply, tag_mismatch and related the report
	// counts as one of nothing; with not_drawn, bad_start and duplicate it does not count; with void its test did
	// not, as too few reported it or there is a result of the half before.
	Reasons []types.Reason
}

// Judge says what the reports about a device prove, in the order of their authors' numbers. The first half of which
// enough reports came counts: the second is there for when nobody conducted the first.
func (c *Clock) Judge(d *Subject, said []Said) *Result {
	out := &Result{
		Whole:   c.Rules.Drawn(c.Seed, d.Prefix) == WholeDraw,
		Bytes:   make([]uint64, len(said)),
		Reasons: make([]types.Reason, len(said)),
	}
	var halves [Halves]half
	for i := range said {
		if err := c.place(d, &said[i], i, &halves); err != nil {
			out.Reasons[i] = types.ReasonOf(err)
		}
	}
	for h := range halves {
		half := &halves[h]
		if half.test == nil {
			continue
		}
		if out.Tested { // the first half counts
			half.mark(out, Void)
			continue
		}
		half.judge(said, out)
		var came []uint64
		for _, i := range half.reports {
			came = append(came, out.Bytes[i])
		}
		capacity, void := Combine(c.Rules, d.Claim, len(d.Members), came)
		if void {
			half.mark(out, Void)
			continue
		}
		out.Tested, out.Capacity = true, capacity
	}
	return out
}

// half is what was reported of the test of one half of the epoch.
type half struct {
	test    *Test
	proof   []byte      // that showed when it began
	tried   []types.Key // whose first report has been looked at
	by      []types.Key
	reports []int // which of those said
}

// place brings a report to its half.
func (c *Clock) place(d *Subject, s *Said, i int, halves *[Halves]half) error {
	r := s.Report
	if r.Device != d.Device || !slices.Contains(d.Members, s.By) {
		return types.Refuse(NotDrawn, "wireless: %v was not drawn for %v", s.By, d.Device)
	}
	if r.Start.Half >= Halves {
		return types.Refuse(BadStart, "wireless: half %d", r.Start.Half)
	}
	h := &halves[r.Start.Half]
	if slices.Contains(h.tried, s.By) {
		return types.Refuse(Duplicate, "wireless: a second report of %v", s.By)
	}
	h.tried = append(h.tried, s.By)
	// A conductor could make several proofs of the one instant, and have each challenger report another.
	if h.test == nil || !bytes.Equal(h.proof, r.Start.Proof) || r.Start.Epoch != c.Epoch || r.Start.Prefix != d.Prefix {
		t, err := c.Test(d, &r.Start)
		if err != nil {
			return err
		}
		h.test, h.proof = t, r.Start.Proof
	}
	h.by, h.reports = append(h.by, s.By), append(h.reports, i)
	return nil
}

func (h *half) mark(out *Result, reason types.Reason) {
	for _, i := range h.reports {
		out.Bytes[i], out.Reasons[i] = 0, reason
	}
}

// judge counts the bytes of each report. Of challengers in one network the first that was drawn counts, and none in the
// device's; the others count nothing, and are not left out: else one liar could say that it is beside an honest one, and
// a liar less would be borne with for it.
func (h *half) judge(said []Said, out *Result) {
	var nets []Net
	if !h.test.Rules.Near {
		nets = append(nets, h.test.Prefix.Net())
	}
	for _, member := range h.test.Members {
		at := slices.Index(h.by, member)
		if at < 0 {
			continue
		}
		i := h.reports[at]
		b, err := h.test.Bytes(member, said[i].Report)
		if err == nil && !h.test.Rules.Near {
			net := said[i].Report.Reply.Reply.Net
			if slices.Contains(nets, net) {
				b, err = 0, types.Refuse(Related, "wireless: %v is in %v, as another is", member, net)
			}
			nets = append(nets, net)
		}
		out.Bytes[i], out.Reasons[i] = b, types.ReasonOf(err)
	}
}
