package keeper_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/testbank"
	"github.com/cairn-network/cairn/chain/x/certificate/keeper"
	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// place is where a header stands.
type place struct {
	epoch  core.Epoch
	region core.Region
}

// world stands in for the modules beside: epoch, final headers and owners are what a test says.
type world struct {
	epoch   core.Epoch
	headers map[place]*tally.Header
	outputs map[place][]tally.OutputLeaf
	owners  map[core.Key]core.Account
}

func (w *world) Epoch(context.Context) (core.Epoch, error) { return w.epoch, nil }
func (w *world) FinalHeader(_ context.Context, e core.Epoch, r core.Region) (*tally.Header, error) {
	if h := w.headers[place{e, r}]; h != nil {
		return h, nil
	}
	return nil, core.Refuse(core.NotFinal, "epoch %d, region %d", e, r)
}

func (w *world) Owner(_ context.Context, device core.Key) (sdk.AccAddress, error) {
	if a, ok := w.owners[device]; ok {
		return a[:], nil
	}
	return nil, core.Refuse(core.UnknownAuthor, "%v", device)
}

type fixture struct {
	*world
	bank   *testbank.Bank
	ctx    sdk.Context
	keeper keeper.Keeper
	msg    types.MsgServer
	query  types.QueryServer
}

type fataler interface {
	Helper()
	Fatal(...any)
}

var (
	alice, bob = core.Account{1}, core.Account{2}
	roof, barn = core.Key{1}, core.Key{2} // alice's devices
)

// midday is a Unix second of the chain's time at which every test begins.
const midday = 19_675*types.Day + types.Day/2

func setup(t fataler) *fixture {
	t.Helper()
	f := &fixture{world: &world{
		epoch: 1000, headers: map[place]*tally.Header{}, outputs: map[place][]tally.OutputLeaf{},
		owners: map[core.Key]core.Account{roof: alice, barn: alice},
	}}
	f.bank, f.ctx = testbank.New(types.ModuleName)
	f.at(midday)
	var err error
	f.keeper, err = keeper.New(f.bank.Codec, f.bank.Store(types.StoreKey), f.bank.Addresses, f.bank.Authority, f, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.keeper.InitGenesis(f.ctx, types.DefaultGenesis()); err != nil {
		t.Fatal(err)
	}
	f.msg, f.query = keeper.NewMsgServer(f.keeper), keeper.NewQueryServer(f.keeper)
	return f
}

// at sets the time of the block.
func (f *fixture) at(second int64) { f.ctx = f.ctx.WithBlockTime(time.Unix(second, 0)) }

// noon is the interval at which a day's noon begins, in energy time.
func noon(day uint64) uint64 { return (day*types.Day + types.Day/2) / lot.Interval }

// sunny is a day's lots from a watt-hour on: two hours of four quarters, with a gap in the second where
// something was sold.
func sunny(day, from uint64) lot.Lots {
	var out lot.Lots
	for q := range uint64(8) {
		if q == 5 {
			from += 40 // sold
		}
		out = append(out, lot.Lot{K: noon(day) + q, From: from, To: from + 100 + q})
		from += 100 + q
	}
	return out
}

func sheetOf(device core.Key, day uint64, lots lot.Lots) *lot.Sheet {
	return &lot.Sheet{
		Device: device, Day: uint32(day), Zone: core.Cell(0x891f8d7a49bffff).Parent(3), Technology: 1, Power: 5_000, Stored: 250,
		Total: lots.Total(), Digest: lots.Digest(),
	}
}

// publish makes a final header over outputs of any categories.
func (f *fixture) publish(e core.Epoch, outputs ...tally.OutputLeaf) {
	var hashes []core.Hash
	for i := range outputs {
		hashes = append(hashes, outputs[i].Hash())
	}
	f.outputs[place{e, 0}] = outputs
	f.headers[place{e, 0}] = &tally.Header{Epoch: e, Outputs: merkle.Root(hashes), OutCount: uint64(len(hashes))}
}

func leaf(s *lot.Sheet) tally.OutputLeaf {
	return tally.OutputLeaf{Category: core.Energy, Data: s.Encode()}
}

// crowd is output i of somebody else.
func crowd(i byte) tally.OutputLeaf {
	lots := sunny(uint64(i), 0)
	return leaf(sheetOf(core.Key{0xcc, i}, uint64(i), lots))
}

// issue is the message that shows output i of the header of e.
func (f *fixture) issue(owner core.Account, e core.Epoch, i int, lots lot.Lots) *types.MsgIssue {
	outputs := f.outputs[place{e, 0}]
	var hashes []core.Hash
	for i := range outputs {
		hashes = append(hashes, outputs[i].Hash())
	}
	msg := &types.MsgIssue{Owner: owner.String(), Epoch: uint64(e), Index: uint64(i), Leaf: outputs[i].Data, Lots: lots.Encode()}
	for _, h := range merkle.Prove(hashes, i).Siblings {
		msg.Siblings = append(msg.Siblings, h[:]...)
	}
	return msg
}

// made issues a day of a device's among other outputs, and returns the ids.
func (f *fixture) made(t fataler, device core.Key, day, from uint64) []string {
	t.Helper()
	lots := sunny(day, from)
	f.publish(f.epoch-1, crowd(1), crowd(2), leaf(sheetOf(device, day, lots)), crowd(3), crowd(4))
	res, err := f.msg.Issue(f.ctx, f.issue(f.owners[device], f.epoch-1, 2, lots))
	if err != nil {
		t.Fatal(err)
	}
	return res.Ids
}

func (f *fixture) get(t fataler, text string) types.Certificate {
	t.Helper()
	id, err := lot.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.query.Certificate(f.ctx, &types.QueryCertificateRequest{Device: id.Device.String(), FromWh: id.From})
	if err != nil {
		t.Fatal(err)
	}
	return res.Certificate
}

func (f *fixture) audit(t fataler, want keeper.Totals) {
	t.Helper()
	if err := f.keeper.Audit(f.ctx); err != nil {
		t.Fatal(err)
	}
	got, err := f.keeper.Totals(f.ctx)
	if err != nil || got != want {
		t.Fatal(got, err, "want", want)
	}
}

// try runs a message on a state of its own, and keeps that only where it was taken.
func (f *fixture) try(do func(sdk.Context) error) error {
	cached, write := f.ctx.CacheContext()
	err := do(cached)
	if err == nil {
		write()
	}
	return err
}

func (f *fixture) split(owner core.Account, id string, at uint64) error {
	return f.try(func(ctx sdk.Context) error {
		_, err := f.msg.Split(ctx, &types.MsgSplit{Owner: owner.String(), Id: id, At: at})
		return err
	})
}

func (f *fixture) transfer(owner core.Account, id string, to core.Account) error {
	return f.try(func(ctx sdk.Context) error {
		_, err := f.msg.Transfer(ctx, &types.MsgTransfer{Owner: owner.String(), Id: id, To: to.String()})
		return err
	})
}

func (f *fixture) retire(owner core.Account, id, beneficiary string, hour uint64) error {
	return f.try(func(ctx sdk.Context) error {
		_, err := f.msg.Retire(ctx, &types.MsgRetire{Owner: owner.String(), Id: id, Beneficiary: beneficiary, Hour: hour})
		return err
	})
}

func wantReason(t *testing.T, what string, err error, want core.Reason) {
	t.Helper()
	if want == "" && err != nil || want != "" && !errors.Is(err, want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestLife: a day is issued by proof, one certificate is split, half of it is sold on, and both halves are retired.
func TestLife(t *testing.T) {
	f := setup(t)
	ids := f.made(t, roof, 7, 1000)
	if want := []string{roof.String() + "/1000", roof.String() + "/1406", roof.String() + "/1550"}; !slices.Equal(ids, want) {
		t.Fatalf("issued %q, want %q: an hour each, the second cut by what was sold", ids, want)
	}
	begin := noon(7) * lot.Interval
	want := types.Certificate{
		Id: ids[0], Device: roof.String(), FromWh: 1000, ToWh: 1406, FromTime: begin, ToTime: begin + 3600, Technology: 1, Power: 5_000,
		Storage: 250, Zone: core.Cell(0x891f8d7a49bffff).Parent(3).String(), Owner: alice.String(), Issued: midday,
		Expires: (19_675 + 731) * types.Day, State: types.State_STATE_ACTIVE, Epoch: 999,
	}
	if diff := cmp.Diff(want.String(), ptr(f.get(t, ids[0])).String()); diff != "" {
		t.Error(diff)
	}
	f.audit(t, keeper.Totals{Issued: 828, Active: 828})
	if mark, err := f.keeper.Mark(f.ctx, roof); err != nil || mark != 1868 {
		t.Errorf("mark %d, %v", mark, err)
	}

	wantReason(t, "split", f.split(alice, ids[0], 1200), "")
	part := roof.String() + "/1200"
	a, b := f.get(t, ids[0]), f.get(t, part)
	if a.FromWh != 1000 || a.ToWh != 1200 || b.FromWh != 1200 || b.ToWh != 1406 || a.FromTime != b.FromTime || a.ToTime != b.ToTime || b.Id != part {
		t.Errorf("split into %v and %v", a, b)
	}
	wantReason(t, "transfer", f.transfer(alice, part, bob), "")
	wantReason(t, "retire", f.retire(alice, ids[0], "", begin), "")
	wantReason(t, "retire the other", f.retire(bob, part, "Bob's Bakery", 0), "")
	if c := f.get(t, ids[0]); c.State != types.State_STATE_RETIRED || c.Beneficiary != alice.String() || c.Hour != begin {
		t.Errorf("retired for nobody else, by the hour: %v", c)
	}
	if c := f.get(t, part); c.State != types.State_STATE_RETIRED || c.Beneficiary != "Bob's Bakery" || c.Hour != 0 || c.Owner != bob.String() {
		t.Errorf("retired for a name: %v", c)
	}
	f.audit(t, keeper.Totals{Issued: 828, Active: 422, Retired: 406})
}

func ptr[T any](v T) *T { return &v }

// TestIssueRefused shows each rule of Issue catching who breaks it.
func TestIssueRefused(t *testing.T) {
	f := setup(t)
	f.made(t, roof, 7, 1000) // the mark is at 1868
	lots := sunny(8, 2000)
	sheet := sheetOf(roof, 8, lots)
	overlapping := slices.Clone(lots)
	overlapping[3].From -= 10
	backwards := slices.Clone(lots)
	slices.Reverse(backwards)
	unsorted := slices.Clone(lots)
	unsorted[2].K = unsorted[1].K - 1
	many := make(lot.Lots, lot.MaxLots+1)
	for i := range many {
		many[i] = lot.Lot{K: noon(8) + uint64(i), From: 5000 + uint64(i), To: 5001 + uint64(i)}
	}
	foreign := *sheet
	foreign.Device = core.Key{9, 9}                  // registered nowhere
	dishonest := func(l lot.Lots) tally.OutputLeaf { // what no honest tally has, but a header commits to
		s := sheetOf(roof, 8, lots)
		s.Total, s.Digest = l.Total(), l.Digest()
		return leaf(s)
	}
	other := leaf(sheet)
	other.Category = core.Mapping
	tagged := leaf(sheet)
	tagged.Data = core.Encode([]any{1, roof, 8, 0, 1, 5000, 0, lots.Total(), lots.Digest()}) // an order's output
	f.publish(990, crowd(1), leaf(sheet), crowd(2), dishonest(overlapping), dishonest(backwards), dishonest(unsorted), dishonest(many),
		leaf(&foreign), other, leaf(sheetOf(roof, 9, sunny(9, 1867))), leaf(sheetOf(roof, 9, sunny(9, 1868))), tagged, dishonest(nil))
	f.publish(991, crowd(1), crowd(2), crowd(3)) // another header
	f.publish(160, leaf(sheet))                  // the last that has not lapsed …
	f.publish(159, leaf(sheet))                  // … and the first that has, though it is still final

	good := func() *types.MsgIssue { return f.issue(alice, 990, 1, lots) }
	change := func(do func(*types.MsgIssue)) *types.MsgIssue {
		msg := good()
		do(msg)
		return msg
	}
	forged := *sheet
	forged.Total += 1000
	for _, c := range []struct {
		what string
		msg  *types.MsgIssue
		want core.Reason
	}{
		{"as it should be", good(), ""},
		{"a header that is not final", change(func(m *types.MsgIssue) { m.Epoch = 992 }), core.CertificateNotFinal},
		{"an epoch to come", change(func(m *types.MsgIssue) { m.Epoch = 5000 }), core.CertificateNotFinal},
		{"another region", change(func(m *types.MsgIssue) { m.Region = 1 }), core.CertificateNotFinal},
		{"a region that cannot be", change(func(m *types.MsgIssue) { m.Region = 1 << 16 }), core.WrongRegion},
		{"a header of long ago", f.issue(alice, 159, 0, lots), core.CertificateLapsed},
		{"a header of nearly so long ago", f.issue(alice, 160, 0, lots), ""},
		{"another header's root", change(func(m *types.MsgIssue) { m.Epoch = 991 }), core.CertificateProof},
		{"a forged leaf", change(func(m *types.MsgIssue) { m.Leaf = forged.Encode() }), core.CertificateProof},
		{"another's index", change(func(m *types.MsgIssue) { m.Index = 0 }), core.CertificateProof},
		{"an index beyond", change(func(m *types.MsgIssue) { m.Index = 99 }), core.CertificateProof},
		{"a sibling cut", change(func(m *types.MsgIssue) { m.Siblings = m.Siblings[32:] }), core.CertificateProof},
		{"half a sibling", change(func(m *types.MsgIssue) { m.Siblings = m.Siblings[1:] }), core.CertificateProof},
		{"a sibling changed", change(func(m *types.MsgIssue) { m.Siblings[7] ^= 1 }), core.CertificateProof},
		{"too many siblings", change(func(m *types.MsgIssue) { m.Siblings = make([]byte, 65*32) }), core.CertificateProof},
		{"a leaf with more after it", change(func(m *types.MsgIssue) { m.Leaf = append(m.Leaf, 0) }), core.BadEncoding},
		{"a leaf too long", change(func(m *types.MsgIssue) { m.Leaf = make([]byte, 257) }), core.Oversize},
		{"an output of another kind", f.issue(alice, 990, 11, lots), core.BadEncoding},
		{"another category's output", f.issue(alice, 990, 8, lots), core.CertificateProof},
		{"lots of another day", change(func(m *types.MsgIssue) { m.Lots = sunny(8, 3000).Encode() }), core.CertificateLots},
		{"a lot more", change(func(m *types.MsgIssue) {
			m.Lots = append(slices.Clone(lots), lot.Lot{K: 1 << 40, From: 9000, To: 9001}).Encode()
		}), core.CertificateLots},
		{"a lot less", change(func(m *types.MsgIssue) { m.Lots = lots[1:].Encode() }), core.CertificateLots},
		{"no lots", change(func(m *types.MsgIssue) { m.Lots = lot.Lots{}.Encode() }), core.BadEncoding},
		{"lots that overlap", f.issue(alice, 990, 3, overlapping), core.BadEncoding},
		{"lots that fall", f.issue(alice, 990, 4, backwards), core.BadEncoding},
		{"lots against time", f.issue(alice, 990, 5, unsorted), core.BadEncoding},
		{"too many lots", f.issue(alice, 990, 6, many), core.BadEncoding},
		{"lots too long", change(func(m *types.MsgIssue) { m.Lots = make([]byte, 1<<20) }), core.Oversize},
		{"no lots, as the sheet says", f.issue(alice, 990, 12, nil), core.BadEncoding},
		{"a device that nobody registered", f.issue(alice, 990, 7, lots), core.UnknownAuthor},
		{"a stranger", f.issue(bob, 990, 1, lots), core.NotOwner},
		{"one watt-hour below the mark", f.issue(alice, 990, 9, sunny(9, 1867)), core.CertificateBelowMark},
		{"at the mark", f.issue(alice, 990, 10, sunny(9, 1868)), ""},
	} {
		cached, _ := f.ctx.CacheContext()
		_, err := f.msg.Issue(cached, c.msg)
		wantReason(t, c.what, err, c.want)
	}
}

// TestDoubleIssue: whatever comes first, no sheet is issued twice, and no earlier one after a later one; a
// device that changed hands is its new owner's to issue for.
func TestDoubleIssue(t *testing.T) {
	f := setup(t)
	days := []lot.Lots{sunny(7, 0), sunny(8, 1000), sunny(9, 2000)}
	f.publish(990, leaf(sheetOf(roof, 7, days[0])), leaf(sheetOf(roof, 8, days[1])), leaf(sheetOf(roof, 9, days[2])), leaf(sheetOf(barn, 7, days[0])))
	f.publish(995, leaf(sheetOf(roof, 8, days[1]))) // the same sheet again, in a later header
	send := func(who core.Account, e core.Epoch, i int, lots lot.Lots) error {
		return f.try(func(ctx sdk.Context) error {
			_, err := f.msg.Issue(ctx, f.issue(who, e, i, lots))
			return err
		})
	}
	wantReason(t, "the second day", send(alice, 990, 1, days[1]), "")
	wantReason(t, "the second day again", send(alice, 990, 1, days[1]), core.CertificateBelowMark)
	wantReason(t, "the second day from another header", send(alice, 995, 0, days[1]), core.CertificateBelowMark)
	wantReason(t, "the first day after it", send(alice, 990, 0, days[0]), core.CertificateBelowMark)
	wantReason(t, "another device's first day", send(alice, 990, 3, days[0]), "")
	f.owners[roof] = bob
	wantReason(t, "the third day, by who owned it then", send(alice, 990, 2, days[2]), core.NotOwner)
	wantReason(t, "the second day, by who owns it now", send(bob, 990, 1, days[1]), core.CertificateBelowMark)
	wantReason(t, "the third day, by who owns it now", send(bob, 990, 2, days[2]), "")
	for _, id := range []string{roof.String() + "/1000"} { // retired, a range stays issued
		wantReason(t, "retire", f.retire(alice, id, "", 0), "")
	}
	wantReason(t, "what was retired", send(bob, 990, 1, days[1]), core.CertificateBelowMark)
	f.audit(t, keeper.Totals{Issued: 3 * 828, Active: 3*828 - 406, Retired: 406})
}

// TestOwnerActs shows each rule of split, transfer and retire catching who breaks it.
func TestOwnerActs(t *testing.T) {
	f := setup(t)
	ids := f.made(t, roof, 7, 1000)
	hour := noon(7) * lot.Interval
	wantReason(t, "split at the first watt-hour", f.split(alice, ids[0], 1000), core.CertificateRange)
	wantReason(t, "split before it", f.split(alice, ids[0], 999), core.CertificateRange)
	wantReason(t, "split at the end", f.split(alice, ids[0], 1406), core.CertificateRange)
	wantReason(t, "split beyond it", f.split(alice, ids[0], 1500), core.CertificateRange)
	wantReason(t, "split by a stranger", f.split(bob, ids[0], 1200), core.NotOwner)
	wantReason(t, "transfer by a stranger", f.transfer(bob, ids[0], bob), core.NotOwner)
	wantReason(t, "retire by a stranger", f.retire(bob, ids[0], "", 0), core.NotOwner)
	for what, id := range map[string]string{
		"an id inside a range": roof.String() + "/1001", "another device's": barn.String() + "/1000", "no id": "1000",
		"an id with a zero before": roof.String() + "/01000", "an id with a sign": roof.String() + "/+1000", "an empty id": "",
	} {
		wantReason(t, what, f.transfer(alice, id, bob), core.UnknownCertificate)
	}
	long, err := f.bank.Addresses.BytesToString(make([]byte, 32)) // an address to the SDK, and no account of this chain's
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"cosmos1zzz", "", long} {
		if f.try(func(ctx sdk.Context) error {
			_, err := f.msg.Transfer(ctx, &types.MsgTransfer{Owner: alice.String(), Id: ids[0], To: to})
			return err
		}) == nil {
			t.Errorf("transferred to %q", to)
		}
	}
	wantReason(t, "retire for another hour", f.retire(alice, ids[0], "", hour+3600), core.CertificateHour)
	wantReason(t, "retire for a quarter", f.retire(alice, ids[0], "", hour+900), core.CertificateHour)
	wantReason(t, "a beneficiary too long", f.retire(alice, ids[0], strings.Repeat("x", 129), 0), core.Oversize)
	wantReason(t, "a beneficiary with an escape", f.retire(alice, ids[0], "a\x1b[2Jb", 0), core.BadEncoding)
	wantReason(t, "a beneficiary turned around", f.retire(alice, ids[0], "a\u202eb", 0), core.BadEncoding)
	wantReason(t, "a beneficiary that is no UTF-8", f.retire(alice, ids[0], "a\xffb", 0), core.BadEncoding)

	wantReason(t, "transfer", f.transfer(alice, ids[0], bob), "")
	wantReason(t, "transfer what is sold", f.transfer(alice, ids[0], alice), core.NotOwner)
	wantReason(t, "retire", f.retire(bob, ids[0], strings.Repeat("é", 64), hour), "")
	wantReason(t, "retire twice", f.retire(bob, ids[0], "", 0), core.CertificateRetired)
	wantReason(t, "split what is retired", f.split(bob, ids[0], 1200), core.CertificateRetired)
	wantReason(t, "transfer what is retired", f.transfer(bob, ids[0], alice), core.CertificateRetired)
	f.audit(t, keeper.Totals{Issued: 828, Active: 422, Retired: 406})
}

// TestSpelling: an address in capitals is the same account, and no certificate is lost to it.
func TestSpelling(t *testing.T) {
	f := setup(t)
	lots := sunny(7, 0)
	f.publish(990, leaf(sheetOf(roof, 7, lots)))
	msg := f.issue(alice, 990, 0, lots)
	msg.Owner = strings.ToUpper(msg.Owner)
	res, err := f.msg.Issue(f.ctx, msg)
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, "as issued in capitals", f.split(alice, res.Ids[0], 9), "")
	if _, err := f.msg.Transfer(f.ctx, &types.MsgTransfer{
		Owner: strings.ToUpper(alice.String()), Id: res.Ids[0], To: strings.ToUpper(bob.String()),
	}); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "as transferred in capitals", f.retire(bob, res.Ids[0], "", 0), "")
	roundTrip(t, f)
}

// TestExpiry: a certificate lasts to the end of its day, to the second; then nobody can do anything with it,
// and everybody sees why.
func TestExpiry(t *testing.T) {
	f := setup(t)
	ids := f.made(t, roof, 7, 1000)
	end := int64(19_675+731) * types.Day
	wantReason(t, "retire", f.retire(alice, ids[1], "", 0), "")
	f.at(end - 1)
	wantReason(t, "split in the last second", f.split(alice, ids[0], 1100), "")
	f.audit(t, keeper.Totals{Issued: 828, Active: 724, Retired: 104})
	f.at(end)
	f.audit(t, keeper.Totals{Issued: 828, Expired: 724, Retired: 104})
	part := roof.String() + "/1100" // expires with the whole
	for _, id := range []string{ids[0], part, ids[2]} {
		wantReason(t, "transfer", f.transfer(alice, id, bob), core.CertificateExpired)
		wantReason(t, "split", f.split(alice, id, 1050), core.CertificateExpired)
		wantReason(t, "retire", f.retire(alice, id, "", 0), core.CertificateExpired)
		if c := f.get(t, id); c.State != types.State_STATE_EXPIRED {
			t.Errorf("%s is shown as %v", id, c.State)
		}
	}
	if c := f.get(t, ids[1]); c.State != types.State_STATE_RETIRED {
		t.Errorf("a retired one is shown as %v", c.State)
	}
	list, err := f.query.ByOwner(f.ctx, &types.QueryByOwnerRequest{Owner: alice.String(), State: types.State_STATE_ACTIVE})
	if err != nil || len(list.Certificates) != 3 || list.Certificates[0].State != types.State_STATE_EXPIRED {
		t.Errorf("by owner: %v, %v", list, err)
	}
	if list, err = f.query.ByDevice(f.ctx, &types.QueryByDeviceRequest{Device: roof.String()}); err != nil || list.Certificates[0].State != types.State_STATE_EXPIRED {
		t.Errorf("by device: %v, %v", list, err)
	}
	_ = f.made(t, roof, 800, 5000) // folds the day away
	f.audit(t, keeper.Totals{Issued: 2 * 828, Active: 828, Expired: 724, Retired: 104})
	roundTrip(t, f)
}

// TestParams: what governance sets holds for what is issued after, and nobody else sets it.
func TestParams(t *testing.T) {
	f := setup(t)
	before := f.made(t, roof, 7, 1000)
	set := func(authority string, p types.Params) error {
		_, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: authority, Params: p})
		return err
	}
	p := types.Params{ExpiryDays: 1, LapseEpochs: 2, RowGas: 500_000}
	if set(alice.String(), p) == nil {
		t.Error("anybody may set parameters")
	}
	for _, bad := range []types.Params{
		{ExpiryDays: 0, LapseEpochs: 840}, {ExpiryDays: 3651, LapseEpochs: 840}, {ExpiryDays: 730, LapseEpochs: 1},
		{ExpiryDays: 730, LapseEpochs: 9000}, {ExpiryDays: 730, LapseEpochs: 840, RowGas: 2_000_000},
	} {
		wantReason(t, bad.String(), set(f.bank.Authority, bad), core.ParamBound)
	}
	wantReason(t, "bounds", set(f.bank.Authority, p), "")
	used := f.ctx.GasMeter().GasConsumed()
	after := f.made(t, roof, 8, 3000)
	if used = f.ctx.GasMeter().GasConsumed() - used; used < uint64(len(after))*p.RowGas || used > 2*uint64(len(after))*p.RowGas {
		t.Errorf("%d certificates took %d gas", len(after), used)
	}
	if a, b := f.get(t, before[0]), f.get(t, after[0]); a.Expires != (19_675+731)*types.Day || b.Expires != (19_675+2)*types.Day {
		t.Errorf("expire at %d and %d", a.Expires, b.Expires)
	}
	used = f.ctx.GasMeter().GasConsumed()
	wantReason(t, "split", f.split(alice, after[0], 3100), "")
	if used = f.ctx.GasMeter().GasConsumed() - used; used < p.RowGas {
		t.Errorf("a split took %d gas", used)
	}
	f.epoch = 1003
	_, err := f.msg.Issue(f.ctx, f.issue(alice, 999, 2, sunny(8, 3000)))
	wantReason(t, "three epochs later", err, core.CertificateLapsed)
}

// TestQueries pages through lists, and asks for what is not there.
func TestQueries(t *testing.T) {
	f := setup(t)
	roofs := f.made(t, roof, 7, 1000)
	barns := f.made(t, barn, 7, 0)
	wantReason(t, "retire", f.retire(alice, roofs[1], "", 0), "")
	wantReason(t, "transfer", f.transfer(alice, barns[2], bob), "")
	pages := func(limit uint64, ask func(*query.PageRequest) (*types.QueryCertificatesResponse, error)) (ids []string) {
		t.Helper()
		var key []byte
		for {
			res, err := ask(&query.PageRequest{Key: key, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			if uint64(len(res.Certificates)) > limit {
				t.Fatalf("a page of %d, want %d at most", len(res.Certificates), limit)
			}
			for _, c := range res.Certificates {
				ids = append(ids, c.Id)
			}
			if key = res.Pagination.NextKey; key == nil {
				return ids
			}
		}
	}
	byOwner := func(a core.Account, s types.State) func(*query.PageRequest) (*types.QueryCertificatesResponse, error) {
		return func(p *query.PageRequest) (*types.QueryCertificatesResponse, error) {
			return f.query.ByOwner(f.ctx, &types.QueryByOwnerRequest{Owner: a.String(), State: s, Pagination: p})
		}
	}
	byDevice := func(p *query.PageRequest) (*types.QueryCertificatesResponse, error) {
		return f.query.ByDevice(f.ctx, &types.QueryByDeviceRequest{Device: roof.String(), Pagination: p})
	}
	held := []string{roofs[0], roofs[2], barns[0], barns[1]}
	for limit := uint64(1); limit < 7; limit++ {
		for what, c := range map[string]struct{ got, want []string }{
			"all of alice's":     {pages(limit, byOwner(alice, types.State_STATE_UNSPECIFIED)), append(slices.Clone(held), roofs[1])},
			"alice's active":     {pages(limit, byOwner(alice, types.State_STATE_ACTIVE)), held},
			"alice's retired":    {pages(limit, byOwner(alice, types.State_STATE_RETIRED)), roofs[1:2]},
			"bob's":              {pages(limit, byOwner(bob, types.State_STATE_UNSPECIFIED)), barns[2:]},
			"bob's retired":      {pages(limit, byOwner(bob, types.State_STATE_RETIRED)), nil},
			"those of the roof":  {pages(limit, byDevice), roofs},
			"nobody's, of which": {pages(limit, byOwner(core.Account{9}, types.State_STATE_UNSPECIFIED)), nil},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("pages of %d, %s: %q, want %q", limit, what, c.got, c.want)
			}
		}
	}
	many := core.Key{7}
	for i := range uint64(1001) {
		if err := f.keeper.Certificates.Set(f.ctx, collections.Join(many[:], i), types.Certificate{}); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := f.query.ByDevice(f.ctx, &types.QueryByDeviceRequest{Device: many.String(), Pagination: &query.PageRequest{Limit: 1 << 40}}); err != nil || len(res.Certificates) != 1000 {
		t.Errorf("a page without bounds: %d, %v", len(res.Certificates), err)
	}
	if m, err := f.query.Mark(f.ctx, &types.QueryMarkRequest{Device: barn.String()}); err != nil || m.Wh != 868 {
		t.Errorf("mark %v, %v", m, err)
	}
	if m, err := f.query.Mark(f.ctx, &types.QueryMarkRequest{Device: core.Key{5}.String()}); err != nil || m.Wh != 0 {
		t.Errorf("mark of a device that nothing was issued for: %v, %v", m, err)
	}
	if _, err := f.query.Certificate(f.ctx, &types.QueryCertificateRequest{Device: roof.String(), FromWh: 1001}); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("a certificate that is not there: %v", err)
	}
	total, err := f.query.Totals(f.ctx, &types.QueryTotalsRequest{})
	if err != nil || *total != (types.QueryTotalsResponse{Issued: 1656, Active: 1552, Retired: 104}) {
		t.Errorf("totals %v, %v", total, err)
	}
}
