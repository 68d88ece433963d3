package network

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// testKillHome kills the node of a home with meters without warning, again and again, and starts it again, at
// once or after more than an epoch; and takes the bus away from it for some epochs, at the end of which it is
// killed too. Whatever it said is in its journal counts, once, and each watt-hour that the register moved by is
// in one of the tally's sums. `make soak` kills ten times.
func testKillHome(t *testing.T, n *Network, f *foreign) {
	kills, epochs := 3, types.Epoch(3)
	if soak {
		kills, epochs = 10, 8 // longer than verifiers take an envelope for (evidence.MaxAnchorAge)
	}
	w := &homeWatch{t: t, n: n, market: f.market, remote: newRemote(t, n), since: epochOf(t, n), kept: map[uint64][energy.Registers]uint64{}}
	moments := rand.New(rand.NewPCG(5, 6))
	w.start()
	for k := range kills - 1 {
		w.stamps()
		switch k % 3 {
		case 0: // when it has handed in, and no tally shows it yet
			w.pass(1)
			w.stamps()
			time.Sleep(time.Duration(moments.IntN(1000)) * time.Millisecond)
		case 1: // while its intervals count: what the absence hides is a gap for no other reason
			until(t, 2*time.Minute, "the tally knows the home's meters", func() bool { return w.look().Named > 0 })
			w.stamps()
			fallthrough
		default:
			time.Sleep(time.Duration(moments.IntN(8000)) * time.Millisecond)
		}
		w.kill()
		if k%3 == 1 {
			w.pass(2) // so that one whole epoch lies between
		}
		w.start()
	}
	w.stamps()
	w.blackout(epochs)
	_, last := w.said()
	until(t, 3*time.Minute, "what was stamped before the bus was back is counted", func() bool { return w.look().K >= last })
	w.check()
	w.stop()
}

// homeWatch follows a home from one end of the network to the other: what its node said, and what the tally
// made of it.
type homeWatch struct {
	*remote
	t      *testing.T
	n      *Network
	market role.Market
	since  types.Epoch                         // the epoch in which it was registered
	seen   energy.State                        // when it was looked at last
	at     types.Epoch                         // the tally that this was of
	kept   map[uint64][energy.Registers]uint64 // what was in the journal when it was killed
}

func epochOf(t *testing.T, n *Network) types.Epoch {
	t.Helper()
	head, err := n.Ledger().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head.Epoch
}

// pass waits until so many epochs have begun.
func (w *homeWatch) pass(count types.Epoch) {
	w.t.Helper()
	end := epochOf(w.t, w.n) + count
	until(w.t, time.Duration(count+2)*time.Minute, "epochs pass", func() bool { return epochOf(w.t, w.n) >= end })
}

// kill kills the node. What it said is in its journal is there.
func (w *homeWatch) kill() {
	w.t.Helper()
	w.remote.kill()
	journal := w.remote.kept()
	said, last := w.said()
	for k, wh := range said {
		if journal[k] != wh {
			w.t.Errorf("interval %d was stamped with %d, the journal has %d", k, wh, journal[k])
		}
	}
	for k, wh := range journal {
		w.kept[k] = wh
	}
	w.t.Logf("killed in epoch %d: %d records up to interval %d, the tally has %d", epochOf(w.t, w.n), len(journal), last, w.look().K)
}

// look returns what the tally has of the home. Nothing that counts up has fallen since it was looked at last.
func (w *homeWatch) look() *energy.State {
	w.t.Helper()
	line, err := w.market.Line(w.t.Context(), w.device)
	if err != nil {
		return &w.seen // the verifiers are between two tallies
	}
	s, err := energy.DecodeState(line.State)
	if err != nil {
		w.t.Fatal(err)
	}
	fell := s.K < w.seen.K || s.V < w.seen.V || s.Sums.Exported < w.seen.Sums.Exported
	for i := range s.Wh {
		fell = fell || s.Wh[i] < w.seen.Wh[i]
	}
	if fell {
		w.t.Errorf("from epoch %d to %d the line fell: %+v, was %+v", w.at, line.Tallied, *s, w.seen)
	}
	w.seen, w.at = *s, line.Tallied
	return s
}

// blackout takes the bus away for some epochs. The node goes on stamping, is killed while the bus is away, and
// stamps again before anybody tells it what time it is.
func (w *homeWatch) blackout(epochs types.Epoch) {
	w.t.Helper()
	_, before := w.said()
	w.cable.set(true)
	until(w.t, time.Minute, "the bus is gone", func() bool { s := w.status(); return s != nil && !s.Online })
	w.pass(epochs)
	if s := w.status(); s == nil || s.Online {
		w.t.Errorf("without a bus, the node says %+v", s)
	}
	all, last := w.said()
	for k := range all {
		if k <= before {
			delete(all, k)
		}
	}
	// On a machine that is busy a boundary may be missed, never most of them.
	if want := int(epochs) * 2; len(all) < want {
		w.t.Errorf("without a bus for %d epochs, the node stamped %d records, up to interval %d after %d", epochs, len(all), last, before)
	}
	if s := w.look(); s.K > before {
		w.t.Errorf("the tally has interval %d, and the bus was away from %d on", s.K, before)
	}
	w.kill()
	w.start()
	w.stamps()
	w.cable.set(false)
}

// check holds what the tallies counted against what the node said, and the tally's line against both.
func (w *homeWatch) check() {
	w.t.Helper()
	s := w.look()
	records, refused := w.counted(w.at)
	w.t.Logf("%d records count, up to interval %d; refused: %v; sums: %+v", len(records), s.K, refused, s.Sums)
	// What comes after its epoch, or without what should have come before, is handed in again, as is what may
	// have been lost; and prices are asked anew after a start. All else, a number that was used twice or comes
	// too late above all, would be the node's mistake.
	mended := []types.Reason{types.WrongEpoch, energy.SiteUnknown, energy.IntervalOrder, energy.AskStale}
	for reason, count := range refused {
		if !slices.Contains(mended, reason) {
			w.t.Errorf("%d envelopes or asks were refused: %s", count, reason)
		}
	}
	if len(records) == 0 || s.Sums.Exported == 0 {
		w.t.Fatalf("nothing was counted: %+v", s)
	}
	w.complete(records, s)
	w.books(records, s)
}

// counted returns the records in all of the home's envelopes that count, in the order of their tallies, and how
// many envelopes and asks do not, by reason.
func (w *homeWatch) counted(to types.Epoch) (records []energy.Record, refused map[types.Reason]int) {
	w.t.Helper()
	refused = map[types.Reason]int{}
	for e := w.since; e <= to; e++ {
		at, err := w.n.Ledger().Header(w.t.Context(), e, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		if at.Status == ledger.Skipped || at.Status == ledger.Voided {
			continue
		}
		bundle, err := w.n.Verifier(0).Bundle(w.t.Context(), e)
		if err != nil {
			w.t.Fatal(err)
		}
		report, err := w.n.Verifier(0).Report(at.Hash)
		if err != nil {
			w.t.Fatal(err)
		}
		why := map[types.Hash]types.Reason{}
		for _, r := range report.Refused {
			if r.Device == w.device {
				why[r.Item] = r.Reason
				refused[r.Reason]++
			}
		}
		records = w.unpack(bundle.Batch, why, records)
	}
	return records, refused
}

// unpack appends the records of the home's envelopes in a batch, but for those that were refused.
func (w *homeWatch) unpack(raw []byte, refused map[types.Hash]types.Reason, to []energy.Record) []energy.Record {
	w.t.Helper()
	batch, err := tally.DecodeBatch(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, item := range batch.Items {
		if item.Type != tally.Evidence {
			continue
		}
		e, err := evidence.Decode(item.Raw, w.n.ChainID())
		if err != nil || e.Author != w.device || e.Kind != energy.KindMeter || refused[e.Hash] != "" {
			continue
		}
		if to, err = energy.DecodeMeter(e.Body, to); err != nil {
			w.t.Fatal(err)
		}
	}
	return to
}

// complete: each interval counts once, and whatever the node had in its journal counts as it was read.
func (w *homeWatch) complete(records []energy.Record, s *energy.State) {
	w.t.Helper()
	has := map[uint64][energy.Registers]uint64{}
	for i, r := range records {
		has[r.K] = r.Wh
		if i > 0 && r.K <= records[i-1].K {
			w.t.Errorf("interval %d counts after %d", r.K, records[i-1].K)
		}
	}
	said, _ := w.said()
	for _, list := range []map[uint64][energy.Registers]uint64{w.kept, said} {
		for k, wh := range list {
			if have, ok := has[k]; k <= s.K && (!ok || have != wh) {
				w.t.Errorf("interval %d was stamped with %d; counted: %v, %d", k, wh, ok, have)
			}
		}
	}
}

// books: the tally's line is what SPEC.md says of the records that count: each watt-hour is in one sum, and
// what flowed while nobody looked for more than an hour is `gap`.
func (w *homeWatch) books(records []energy.Record, s *energy.State) {
	w.t.Helper()
	first, last := &records[0], &records[len(records)-1]
	moved := last.Wh[energy.Export] - first.Wh[energy.Export]
	if s.K != last.K || s.Wh != last.Wh || s.V != last.Wh[energy.Export] || s.Sums.Exported != moved {
		w.t.Errorf("the register moved by %d to %+v, the line says %+v", moved, *last, s)
	}
	sum := s.Sums.Community + s.Sums.Certificate + s.Sums.Sealed + s.Sums.Netted + s.Sums.Withheld() + s.Lots.Total()
	flows := uint64(s.Records) + uint64(len(s.Pending))
	for i := range s.Pending {
		sum += s.Pending[i].Wh[energy.Export]
	}
	for _, n := range s.Counts {
		flows += uint64(n)
	}
	if sum != moved {
		w.t.Errorf("%d Wh are accounted for of %d: %+v", sum, moved, s.Sums)
	}
	if flows != uint64(len(records)-1) {
		w.t.Errorf("%d records make %d intervals", len(records), flows)
	}
	gap, holes := uint64(0), 0
	for i := 1; i < len(records); i++ {
		a, b := &records[i-1], &records[i]
		const needed = 1<<energy.Export | 1<<energy.Import | 1<<energy.PV
		afresh := b.K-a.K > energy.MaxSpan
		if afresh && a.K+1 >= s.Named {
			holes++
		}
		if b.K < s.Done && (afresh || a.K+1 < s.Named || a.Present&b.Present&needed != needed) {
			gap += b.Wh[energy.Export] - a.Wh[energy.Export]
		}
	}
	if s.Sums.Gap != gap || holes == 0 {
		w.t.Errorf("%d Wh are counted as gap, want %d of %d absences", s.Sums.Gap, gap, holes)
	}
}
