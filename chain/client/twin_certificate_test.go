package client_test

import (
	"flag"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/energy/customer/certificate/certificatetest"
)

// sheet is a sheet that a header has in its outputs tree.
type sheet struct {
	epoch types.Epoch
	index int
	lots  lot.Lots
}

// TestTwinCertificates lets the chain and its twin issue, split, transfer and retire certificates, in order and
// out of it, while headers become final and lapse, and certificates expire. After each step both refused the
// same, and show the same.
func TestTwinCertificates(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		f.Value.Set("6") // each check is a chain; ask for more with -rapid.checks
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := newPair(t, rt)
		defer p.chain.Close()
		for i, owner := range p.made.accounts {
			s := evidence.Statement{
				Chain: chainID, Device: p.key(i).Public(), Owner: owner, Categories: []types.Category{ledgertest.Category}, Cell: 0x8a1fb46622dffff, Expiry: 50,
			}
			p.submit(owner, ledger.Register{Statement: *s.Sign(p.key(i)), Bond: 30 * stone})
			p.devices++
		}
		p.close(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { p.sameCertificates() }, "close an epoch": p.close, "issue": p.issue, "issue again": p.issue, "issue once more": p.issue,
			"act": p.act, "act again": p.act, "act once more": p.act, "act at last": p.act, "wait": func(t *rapid.T) {
				p.to(p.head() + uint64(rapid.IntRange(1, 6).Draw(t, "blocks")))
			},
		})
	})
}

// close goes to the end of the running epoch and commits its header, with sheets.
func (p *pair) close(t *rapid.T) {
	e := types.Epoch((p.head()-1)/p.blocks) + 1
	p.to(uint64(e) * p.blocks)
	b := ledgertest.NewBooks()
	if last := p.last(); last != 0 {
		b = p.books[last].Copy()
		s, err := p.twin.Settlement(p.t.Context(), last)
		p.must(err)
		p.must(b.Fold(s))
	}
	outputs, lots := p.sheets(t)
	b.Outputs = slices.Clone(outputs)
	ep, err := p.twin.Epoch(p.t.Context(), e)
	p.must(err)
	h, err := b.Header(chainID, ep, 0, p.vrf(ep.Leaders[0][0]))
	p.must(err)
	if !p.both(h, []int{0, 1, 2, 3}, func(bitmap []byte, sigs []types.Signature) ledger.Msg {
		return ledger.Commit{Header: h.Encode(), Bitmap: bitmap, Signatures: sigs}
	}) {
		p.t.Fatalf("the header of epoch %d was not taken", e)
	}
	p.books[e], p.headers[e], p.outputs[e] = b, h, outputs
	p.accepted = append(p.accepted, e)
	for i := range lots {
		p.published = append(p.published, sheet{e, i, lots[i]})
	}
}

// sheets draws what a header puts out: some days of some devices, which rise, or repeat what others have.
func (p *pair) sheets(t *rapid.T) (outputs []tally.OutputLeaf, list []lot.Lots) {
	for range rapid.IntRange(1, 4).Draw(t, "sheets") {
		lots := certificatetest.Lots(rapid.Uint64Range(0, 8).Draw(t, "interval"), 50*rapid.Uint64Range(0, 40).Draw(t, "from"), rapid.IntRange(1, 6).Draw(t, "lots"))
		out := certificatetest.Output(certificatetest.Sheet(p.key(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 1, 2, 3}).Draw(t, "device")).Public(), lots))
		if rapid.IntRange(0, 9).Draw(t, "another category") == 0 {
			out.Category = types.Mapping
		}
		outputs, list = append(outputs, out), append(list, lots)
	}
	return outputs, list
}

// issue shows a sheet, now and then not as it should be.
func (p *pair) issue(t *rapid.T) {
	if len(p.published) == 0 {
		t.Skip("no sheet yet")
	}
	s := rapid.SampledFrom(p.published).Draw(t, "sheet")
	msg := certificatetest.IssueMsg(s.epoch, p.outputs[s.epoch], s.index, s.lots)
	switch rapid.IntRange(0, 19).Draw(t, "forge") {
	case 0:
		msg.Index++
	case 1:
		msg.Lots = msg.Lots[1:]
	case 2:
		msg.Sheet.Total++
	case 3:
		msg.Epoch++
	}
	from := p.account(t)
	if d, err := p.twin.Device(p.t.Context(), msg.Sheet.Device); err == nil && rapid.IntRange(0, 3).Draw(t, "stranger") != 0 {
		from = d.Owner
	}
	if h, err := p.twin.Header(p.t.Context(), s.epoch, 0); err == nil && h.Status == ledger.Accepted && rapid.IntRange(0, 3).Draw(t, "early") != 0 {
		p.to(max(p.head(), h.FinalAt)) // nobody appeals it
	}
	p.submit(from, msg)
}

// certificate draws one, and who acts on it: its owner, most of the time.
func (p *pair) certificate(t *rapid.T) (*certificate.Certificate, types.Account) {
	var all []certificate.Certificate
	for _, a := range p.made.accounts {
		page, err := certificate.Reader{Chain: p.twin}.List(p.t.Context(), certificate.Query{Owner: a})
		p.must(err)
		all = append(all, page.Certificates...)
	}
	if len(all) == 0 {
		t.Skip("no certificate yet")
	}
	c := rapid.SampledFrom(all).Draw(t, "certificate")
	if rapid.IntRange(0, 4).Draw(t, "stranger") == 0 {
		return &c, p.account(t)
	}
	return &c, c.Owner
}

// act splits, transfers or retires, or does several of these in one transaction.
func (p *pair) act(t *rapid.T) {
	c, from := p.certificate(t)
	at := rapid.Uint64Range(c.ID.From, c.To).Draw(t, "at")
	hour := rapid.SampledFrom([]uint64{0, 0, lot.Hour(c.Begin), lot.Hour(c.Begin) + 3600}).Draw(t, "hour")
	split, part := certificate.Split{ID: c.ID, At: at}, lot.ID{Device: c.ID.Device, From: at}
	retire := certificate.Retire{ID: c.ID, Hour: hour, Beneficiary: rapid.SampledFrom([]string{"", "Bakery", "\x1b"}).Draw(t, "beneficiary")}
	p.submit(from, rapid.SampledFrom([][]ledger.Msg{
		{split}, {certificate.Transfer{ID: c.ID, To: p.account(t)}}, {retire},
		{split, certificate.Transfer{ID: part, To: p.account(t)}, retire}, {split, certificate.Retire{ID: part}},
	}).Draw(t, "messages")...)
}

// sameCertificates compares all certificates, in pages.
func (p *pair) sameCertificates() {
	ctx := p.t.Context()
	a, err := certificate.Reader{Chain: p.real}.Totals(ctx)
	p.must(err)
	b, err := certificate.Reader{Chain: p.twin}.Totals(ctx)
	p.must(err)
	p.same("totals of certificates", a, b)
	if a.Issued != a.Active+a.Retired+a.Expired {
		p.t.Fatalf("issued is not active + retired + expired: %+v", a)
	}
	var queries []certificate.Query
	for _, account := range p.made.accounts {
		queries = append(queries, certificate.Query{Owner: account, Limit: 7})
	}
	for i := range p.devices {
		key := p.key(i).Public()
		a, err := certificate.Reader{Chain: p.real}.Mark(ctx, key)
		p.must(err)
		b, err := certificate.Reader{Chain: p.twin}.Mark(ctx, key)
		p.must(err)
		p.same("mark", a, b)
		if a > 0 {
			queries = append(queries, certificate.Query{Device: key, Limit: 100})
		}
	}
	for _, q := range queries {
		p.same("certificates", p.all(p.real, q), p.all(p.twin, q))
	}
}

// all goes through all pages of a list.
func (p *pair) all(l ledger.Ledger, q certificate.Query) (list []certificate.Certificate) {
	for {
		page, err := certificate.Reader{Chain: l}.List(p.t.Context(), q)
		p.must(err)
		list = append(list, page.Certificates...)
		if q.After = page.Next; q.After == nil {
			return slices.Clip(list)
		}
	}
}
