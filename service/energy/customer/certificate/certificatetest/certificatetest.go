// Package certificatetest is the suite that certificates pass on every ledger.Ledger which has their module:
// the chain, and a ledger.Memory with certificate.Twin.
package certificatetest

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
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
		Device: device, Day: uint32(lots[0].K / 96), Zone: types.Cell(0x8a1fb46622dffff).Parent(3), Technology: 1, Power: 5_000, Stored: 250,
		Total: lots.Total(), Digest: lots.Digest(),
	}
}

// Output is the leaf that a sheet is.
func Output(s lot.Sheet) tally.OutputLeaf {
	return tally.OutputLeaf{Category: types.Energy, Data: s.Encode()}
}

// IssueMsg shows output i of a header.
func IssueMsg(e types.Epoch, outputs []tally.OutputLeaf, i int, lots lot.Lots) certificate.Issue {
	s, err := lot.Decode(outputs[i].Data)
	if err != nil {
		panic(err) // the test made it
	}
	return certificate.Issue{
		Epoch: e, Sheet: *s, Lots: lots, Index: uint64(i), Siblings: (&tally.Result{Outputs: outputs}).ProveOutput(i),
	}
}

// Run runs the suite.
func Run(t *testing.T, open ledgertest.Open) {
	t.Run("Certificates", func(t *testing.T) { testCertificates(t, open(t, 4, 1)) })
}

// testCertificates: a day is issued by proof, once; a part of it is split off and sold, and both are retired.
func testCertificates(t *testing.T, n *ledgertest.Network) {
	r, read, ctx := ledgertest.NewRig(t, n), certificate.Reader{Chain: n.Ledger}, t.Context()
	alice, bob := r.Accounts[0], r.Accounts[1]
	roof := ledgertest.DeviceKey(1).Public()
	r.Register(alice, 1)
	hour := uint64(4 * 490_000) // an interval at which an hour begins
	first, second := Lots(hour, 0, 6), Lots(hour+96, 1000, 4)
	foreign := Output(Sheet(roof, first))
	foreign.Category = types.Mapping
	nobody := Lots(hour, 0, 1)
	outputs := []tally.OutputLeaf{
		Output(Sheet(ledgertest.DeviceKey(9).Public(), nobody)), Output(Sheet(roof, first)), foreign, Output(Sheet(roof, second)),
	}
	books := ledgertest.NewBooks()
	books.Line(roof)
	books.Outputs = slices.Clone(outputs)
	r.Commit(books, 1)
	issue := func(i int, lots lot.Lots) certificate.Issue { return IssueMsg(1, outputs, i, lots) }
	r.Do(types.CertificateNotFinal, alice, issue(1, first))
	r.ToEpoch(4)
	r.Status(1, ledger.Final)

	r.Do(types.NotOwner, bob, issue(1, first))
	r.Do(types.UnknownAuthor, alice, issue(0, nobody))
	r.Do(types.CertificateProof, alice, issue(2, first))
	r.Do(types.CertificateLots, alice, issue(1, second))
	forged := issue(1, first)
	forged.Index = 3
	r.Do(types.CertificateProof, alice, forged)
	forged = issue(1, first)
	forged.Sheet.Power++
	r.Do(types.CertificateProof, alice, forged)
	forged = issue(1, first)
	forged.Epoch = 2
	r.Do(types.CertificateNotFinal, alice, forged)
	forged.Epoch, forged.Region = 1, 1
	r.Do(types.CertificateNotFinal, alice, forged)
	forged = issue(1, nil)
	r.Do(types.BadEncoding, alice, forged)
	r.Do("", alice, issue(1, first))
	r.Do(types.CertificateBelowMark, alice, issue(1, first))
	r.Do("", alice, issue(3, second))
	r.Do(types.CertificateBelowMark, alice, issue(1, first))
	if got := must(read.Mark(ctx, roof))(t); got != 1400 {
		t.Fatalf("the mark is at %d", got)
	}

	a, b, c := lot.ID{Device: roof, From: 0}, lot.ID{Device: roof, From: 400}, lot.ID{Device: roof, From: 1000}
	got := must(read.Certificate(ctx, a))(t)
	begin := hour * lot.Interval
	if got.Issued == 0 || got.Expires <= got.Issued || got.Expires%86_400 != 0 {
		t.Fatalf("issued at %d, expires at %d", got.Issued, got.Expires)
	}
	want := certificate.Certificate{
		ID: a, To: 400, Begin: begin, End: begin + 3600, Technology: 1, Zone: types.Cell(0x8a1fb46622dffff).Parent(3), Power: 5_000, Storage: 250,
		Owner: alice, Issued: got.Issued, Expires: got.Expires, State: certificate.Active, Epoch: 1,
	}
	if *got != want {
		t.Fatalf("issued %+v, want %+v", *got, want)
	}
	if _, err := read.Certificate(ctx, lot.ID{Device: roof, From: 1}); types.ReasonOf(err) != types.UnknownCertificate {
		t.Fatalf("a certificate inside another's range: %v", err)
	}

	// Part of one changes hands in one transaction, because the part's name is known before it exists: all or none.
	part := lot.ID{Device: roof, From: 150}
	r.Do(types.CertificateHour, alice, certificate.Split{ID: a, At: 150}, certificate.Transfer{ID: part, To: bob}, certificate.Retire{ID: a, Hour: begin + 3600})
	if _, err := read.Certificate(ctx, part); types.ReasonOf(err) != types.UnknownCertificate {
		t.Fatalf("what a refused transaction split off: %v", err)
	}
	r.Do(types.CertificateRange, alice, certificate.Split{ID: a, At: 400})
	r.Do(types.NotOwner, bob, certificate.Split{ID: a, At: 150})
	r.Do("", alice, certificate.Split{ID: a, At: 150}, certificate.Transfer{ID: part, To: bob}, certificate.Retire{ID: a, Hour: begin})
	r.Do(types.NotOwner, alice, certificate.Transfer{ID: part, To: alice})
	r.Do(types.Oversize, bob, certificate.Retire{ID: part, Beneficiary: string(make([]byte, 129))})
	r.Do("", bob, certificate.Retire{ID: part, Beneficiary: "Bob's Bakery"})
	r.Do(types.CertificateRetired, bob, certificate.Retire{ID: part, Beneficiary: "Bob's Bakery"})
	r.Do(types.UnknownCertificate, alice, certificate.Retire{ID: lot.ID{Device: roof, From: 5000}})
	if x := must(read.Certificate(ctx, part))(t); x.State != certificate.Retired || x.Beneficiary != "Bob's Bakery" || x.Hour != 0 || x.Owner != bob || x.Wh() != 250 {
		t.Fatalf("retired %+v", x)
	}
	if x := must(read.Certificate(ctx, a))(t); x.State != certificate.Retired || x.Beneficiary != alice.String() || x.Hour != begin || x.Wh() != 150 {
		t.Fatalf("retired %+v", x)
	}
	if x := must(read.Totals(ctx))(t); *x != (certificate.Totals{Issued: 1000, Active: 600, Retired: 400}) {
		t.Fatalf("totals %+v", x)
	}
	for limit := range 4 {
		for what, l := range map[string]struct {
			q    certificate.Query
			want []lot.ID
		}{
			"alice's":         {certificate.Query{Owner: alice}, []lot.ID{b, c, a}},
			"alice's active":  {certificate.Query{Owner: alice, State: certificate.Active}, []lot.ID{b, c}},
			"alice's retired": {certificate.Query{Owner: alice, State: certificate.Retired}, []lot.ID{a}},
			"bob's":           {certificate.Query{Owner: bob}, []lot.ID{part}},
			"the roof's":      {certificate.Query{Device: roof}, []lot.ID{a, part, b, c}},
			"nobody's":        {certificate.Query{Owner: r.Accounts[2]}, nil},
		} {
			l.q.Limit = limit
			if got := all(t, read, l.q); !slices.Equal(got, l.want) {
				t.Fatalf("%s, %d a page: %v, want %v", what, limit, got, l.want)
			}
		}
	}
}

// all goes through all pages of a list.
func all(t *testing.T, read certificate.Reader, q certificate.Query) (ids []lot.ID) {
	t.Helper()
	for {
		page := must(read.List(t.Context(), q))(t)
		if q.Limit > 0 && len(page.Certificates) > q.Limit {
			t.Fatalf("a page of %d, want %d at most", len(page.Certificates), q.Limit)
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

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
