package ledgertest

import (
	"errors"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Lots are n lots of 100 Wh, a quarter hour each, from an interval and a watt-hour on.
func Lots(k, from uint64, n int) lot.Lots {
	var out lot.Lots
	for i := range uint64(n) {
		out = append(out, lot.Lot{K: k + i, From: from + 100*i, To: from + 100*i + 100})
	}
	return out
}

// Sheet is what a tally puts out of a device's day with those lots.
func Sheet(device types.Key, lots lot.Lots) lot.Sheet {
	return lot.Sheet{
		Device: device, Day: uint32(lots[0].K / 96), Zone: types.Cell(0x8a1fb46622dffff).Parent(3), Technology: 1, Power: 5_000, Storage: 250,
		Total: lots.Total(), Digest: lots.Digest(),
	}
}

// Output is the leaf that a sheet is.
func Output(s lot.Sheet) tally.OutputLeaf {
	return tally.OutputLeaf{Category: types.Energy, Data: s.Encode()}
}

// IssueMsg shows output i of a header.
func IssueMsg(e types.Epoch, outputs []tally.OutputLeaf, i int, lots lot.Lots) ledger.Issue {
	s, err := lot.Decode(outputs[i].Data)
	if err != nil {
		panic(err) // the test made it
	}
	return ledger.Issue{
		Epoch: e, Sheet: *s, Lots: lots, Index: uint64(i), Siblings: (&tally.Result{Outputs: outputs}).ProveOutput(i),
	}
}

// testCertificates: a day is issued by proof, once; a part of it is split off and sold, and both are retired.
func testCertificates(t *testing.T, n *Network) {
	r := newRig(t, n)
	alice, bob := r.Accounts[0], r.Accounts[1]
	roof := deviceKey(1).Public()
	r.register(alice, 1)
	hour := uint64(4 * 490_000) // an interval at which an hour begins
	first, second := Lots(hour, 0, 6), Lots(hour+96, 1000, 4)
	foreign := Output(Sheet(roof, first))
	foreign.Category = types.Mapping
	nobody := Lots(hour, 0, 1)
	outputs := []tally.OutputLeaf{
		Output(Sheet(deviceKey(9).Public(), nobody)), Output(Sheet(roof, first)), foreign, Output(Sheet(roof, second)),
	}
	books := NewBooks()
	books.Line(roof)
	books.Outputs = slices.Clone(outputs)
	r.commit(books, 1)
	issue := func(i int, lots lot.Lots) ledger.Issue { return IssueMsg(1, outputs, i, lots) }
	r.do(types.CertificateNotFinal, alice, issue(1, first))
	r.toEpoch(4)
	r.status(1, ledger.Final)

	r.do(types.NotOwner, bob, issue(1, first))
	r.do(types.UnknownAuthor, alice, issue(0, nobody))
	r.do(types.CertificateProof, alice, issue(2, first))
	r.do(types.CertificateLots, alice, issue(1, second))
	forged := issue(1, first)
	forged.Index = 3
	r.do(types.CertificateProof, alice, forged)
	forged = issue(1, first)
	forged.Sheet.Power++
	r.do(types.CertificateProof, alice, forged)
	forged = issue(1, first)
	forged.Epoch = 2
	r.do(types.CertificateNotFinal, alice, forged)
	forged.Epoch, forged.Region = 1, 1
	r.do(types.CertificateNotFinal, alice, forged)
	forged = issue(1, nil)
	r.do(types.BadEncoding, alice, forged)
	r.do("", alice, issue(1, first))
	r.do(types.CertificateBelowMark, alice, issue(1, first))
	r.do("", alice, issue(3, second))
	r.do(types.CertificateBelowMark, alice, issue(1, first))
	if got := must(r.Ledger.CertificateMark(r.ctx, roof))(t); got != 1400 {
		t.Fatalf("the mark is at %d", got)
	}

	a, b, c := lot.ID{Device: roof, From: 0}, lot.ID{Device: roof, From: 400}, lot.ID{Device: roof, From: 1000}
	got := must(r.Ledger.Certificate(r.ctx, a))(t)
	begin := hour * lot.Interval
	if got.Issued == 0 || got.Expires <= got.Issued || got.Expires%86_400 != 0 {
		t.Fatalf("issued at %d, expires at %d", got.Issued, got.Expires)
	}
	want := ledger.Certificate{
		ID: a, To: 400, Begin: begin, End: begin + 3600, Technology: 1, Zone: types.Cell(0x8a1fb46622dffff).Parent(3), Power: 5_000, Storage: 250,
		Owner: alice, Issued: got.Issued, Expires: got.Expires, State: ledger.CertificateActive, Epoch: 1,
	}
	if *got != want {
		t.Fatalf("issued %+v, want %+v", *got, want)
	}
	if _, err := r.Ledger.Certificate(r.ctx, lot.ID{Device: roof, From: 1}); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("a certificate inside another's range: %v", err)
	}

	// Part of one changes hands in one transaction, because the part's name is known before it exists: all or none.
	part := lot.ID{Device: roof, From: 150}
	r.do(types.CertificateHour, alice, ledger.Split{ID: a, At: 150}, ledger.Transfer{ID: part, To: bob}, ledger.Retire{ID: a, Hour: begin + 3600})
	if _, err := r.Ledger.Certificate(r.ctx, part); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("what a refused transaction split off: %v", err)
	}
	r.do(types.CertificateRange, alice, ledger.Split{ID: a, At: 400})
	r.do(types.NotOwner, bob, ledger.Split{ID: a, At: 150})
	r.do("", alice, ledger.Split{ID: a, At: 150}, ledger.Transfer{ID: part, To: bob}, ledger.Retire{ID: a, Hour: begin})
	r.do(types.NotOwner, alice, ledger.Transfer{ID: part, To: alice})
	r.do(types.Oversize, bob, ledger.Retire{ID: part, Beneficiary: string(make([]byte, 129))})
	r.do("", bob, ledger.Retire{ID: part, Beneficiary: "Bob's Bakery"})
	r.do(types.CertificateRetired, bob, ledger.Retire{ID: part, Beneficiary: "Bob's Bakery"})
	r.do(types.UnknownCertificate, alice, ledger.Retire{ID: lot.ID{Device: roof, From: 5000}})
	if x := must(r.Ledger.Certificate(r.ctx, part))(t); x.State != ledger.CertificateRetired || x.Beneficiary != "Bob's Bakery" || x.Hour != 0 || x.Owner != bob || x.Wh() != 250 {
		t.Fatalf("retired %+v", x)
	}
	if x := must(r.Ledger.Certificate(r.ctx, a))(t); x.State != ledger.CertificateRetired || x.Beneficiary != alice.String() || x.Hour != begin || x.Wh() != 150 {
		t.Fatalf("retired %+v", x)
	}
	if x := must(r.Ledger.CertificateTotals(r.ctx))(t); *x != (ledger.CertificateTotals{Issued: 1000, Active: 600, Retired: 400}) {
		t.Fatalf("totals %+v", x)
	}
	for limit := range 4 {
		for what, l := range map[string]struct {
			q    ledger.CertificateQuery
			want []lot.ID
		}{
			"alice's":         {ledger.CertificateQuery{Owner: alice}, []lot.ID{b, c, a}},
			"alice's active":  {ledger.CertificateQuery{Owner: alice, State: ledger.CertificateActive}, []lot.ID{b, c}},
			"alice's retired": {ledger.CertificateQuery{Owner: alice, State: ledger.CertificateRetired}, []lot.ID{a}},
			"bob's":           {ledger.CertificateQuery{Owner: bob}, []lot.ID{part}},
			"the roof's":      {ledger.CertificateQuery{Device: roof}, []lot.ID{a, part, b, c}},
			"nobody's":        {ledger.CertificateQuery{Owner: r.Accounts[2]}, nil},
		} {
			l.q.Limit = limit
			if got := r.certificates(l.q); !slices.Equal(got, l.want) {
				t.Fatalf("%s, %d a page: %v, want %v", what, limit, got, l.want)
			}
		}
	}
}

// certificates goes through all pages of a list.
func (r *rig) certificates(q ledger.CertificateQuery) (ids []lot.ID) {
	r.t.Helper()
	for {
		page := must(r.Ledger.Certificates(r.ctx, q))(r.t)
		if q.Limit > 0 && len(page.Certificates) > q.Limit {
			r.t.Fatalf("a page of %d, want %d at most", len(page.Certificates), q.Limit)
		}
		for i := range page.Certificates {
			ids = append(ids, page.Certificates[i].ID)
		}
		if page.Next == nil {
			return ids
		}
		q.After = page.Next
	}
}
