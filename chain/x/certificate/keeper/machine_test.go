package keeper_test

import (
	"maps"
	"slices"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/chain/x/certificate/keeper"
	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	core "github.com/cairn-network/cairn/core/types"
)

// model is what a test knows of certificates without asking the keeper: each watt-hour by itself.
type model struct {
	*fixture
	issued  map[lot.ID]bool      // every watt-hour that was ever issued, by its number
	rows    map[string]*modelRow // certificates by id
	sheets  []modelSheet
	retired uint64
}

type modelRow struct {
	from, to uint64
	owner    core.Account
	expires  uint64
	retired  bool
	hour     uint64
}

type modelSheet struct {
	epoch  core.Epoch
	index  int
	device core.Key
	lots   lot.Lots
}

// TestMachine publishes sheets, honest ones and such as repeat what others have, and lets anybody issue, split,
// transfer and retire in any order while time goes by. After every step issued = active + retired + expired, by
// the keeper's sums, by its rows, and by a model that knows each watt-hour; and no watt-hour was issued twice.
// At the end the state survives export and import.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{fixture: setup(t), issued: map[lot.ID]bool{}, rows: map[string]*modelRow{}}
		t.Repeat(map[string]func(*rapid.T){
			"publish": m.publishSome, "issue": m.issueOne, "issue again": m.issueOne, "split": m.splitOne, "transfer": m.transferOne,
			"retire": m.retireOne, "wait": m.wait, "sell a device": m.sellDevice, "": m.check,
		})
		roundTrip(t, m.fixture)
	})
}

var people = []core.Account{alice, bob, {3}}

func person(t *rapid.T) core.Account { return rapid.SampledFrom(people).Draw(t, "person") }

func (m *model) publishSome(t *rapid.T) {
	m.epoch += core.Epoch(rapid.IntRange(1, 30).Draw(t, "epochs"))
	e := m.epoch - 1
	outputs := []int{}
	for range rapid.IntRange(1, 4).Draw(t, "sheets") {
		device := rapid.SampledFrom([]core.Key{roof, barn}).Draw(t, "device")
		at, k := rapid.Uint64Range(0, 300).Draw(t, "from"), noon(rapid.Uint64Range(1, 9).Draw(t, "day"))
		var lots lot.Lots
		for range rapid.IntRange(1, 12).Draw(t, "lots") {
			at += rapid.SampledFrom([]uint64{0, 0, 0, 5}).Draw(t, "gap")
			n := rapid.Uint64Range(1, 20).Draw(t, "wh")
			lots = append(lots, lot.Lot{K: k, From: at, To: at + n})
			at, k = at+n, k+rapid.Uint64Range(0, 3).Draw(t, "quarters")
		}
		m.sheets = append(m.sheets, modelSheet{e, len(outputs), device, lots})
		outputs = append(outputs, len(m.sheets)-1)
	}
	m.publish(e)
	leaves := m.outputs[place{e, 0}]
	for _, i := range outputs {
		s := m.sheets[i]
		leaves = append(leaves, leaf(sheetOf(s.device, 1, s.lots)))
	}
	m.publish(e, leaves...)
}

func (m *model) issueOne(t *rapid.T) {
	if len(m.sheets) == 0 {
		t.Skip("no sheet yet")
	}
	s := rapid.SampledFrom(m.sheets).Draw(t, "sheet")
	who := person(t)
	if rapid.IntRange(0, 3).Draw(t, "stranger") != 0 {
		who = m.owners[s.device]
	}
	var res *types.MsgIssueResponse
	err := m.try(func(ctx sdk.Context) (err error) {
		res, err = m.msg.Issue(ctx, m.fixture.issue(who, s.epoch, s.index, s.lots))
		return err
	})
	if err != nil {
		if core.ReasonOf(err) == "" {
			t.Fatalf("refused without a reason: %v", err)
		}
		return
	}
	if who != m.owners[s.device] || m.epoch-s.epoch > 840 {
		t.Fatalf("%v issued for %v from epoch %d in %d", who, s.device, s.epoch, m.epoch)
	}
	for _, l := range s.lots {
		for wh := l.From; wh < l.To; wh++ {
			if m.issued[lot.ID{Device: s.device, From: wh}] {
				t.Fatalf("watt-hour %d of %v was issued twice", wh, s.device)
			}
			m.issued[lot.ID{Device: s.device, From: wh}] = true
		}
	}
	var sum uint64
	for _, id := range res.Ids {
		c := m.get(t, id)
		if m.rows[id] != nil || c.ToTime-c.FromTime > 3600 || lot.Hour(c.FromTime) != lot.Hour(c.ToTime-1) {
			t.Fatalf("issued %v", c)
		}
		m.rows[id] = &modelRow{c.FromWh, c.ToWh, who, c.Expires, false, lot.Hour(c.FromTime)}
		sum += c.Wh()
	}
	if sum != s.lots.Total() || res.Issued != sum {
		t.Fatalf("issued %d of %d Wh, says %d", sum, s.lots.Total(), res.Issued)
	}
}

// row draws a certificate, and says whether who may still act on it.
func (m *model) row(t *rapid.T) (id string, r *modelRow, who core.Account, may bool) {
	if len(m.rows) == 0 {
		t.Skip("no certificate yet")
	}
	id = rapid.SampledFrom(slices.Sorted(maps.Keys(m.rows))).Draw(t, "certificate")
	r, who = m.rows[id], person(t)
	if rapid.IntRange(0, 3).Draw(t, "stranger") != 0 {
		who = r.owner
	}
	return id, r, who, who == r.owner && !r.retired && m.now() < r.expires
}

func (m *model) now() uint64 { return uint64(m.ctx.BlockTime().Unix()) }

func (m *model) expect(t *rapid.T, what string, err error, may bool) {
	if (err == nil) != may || err != nil && core.ReasonOf(err) == "" {
		t.Fatalf("%s: %v, may: %v", what, err, may)
	}
}

func (m *model) splitOne(t *rapid.T) {
	id, r, who, may := m.row(t)
	at := rapid.Uint64Range(r.from, r.to).Draw(t, "at")
	err := m.split(who, id, at)
	m.expect(t, "split", err, may && at > r.from && at < r.to)
	if err != nil {
		return
	}
	part := *r
	part.from, r.to = at, at
	key, _ := lot.ParseID(id)
	m.rows[lot.ID{Device: key.Device, From: at}.String()] = &part
}

func (m *model) transferOne(t *rapid.T) {
	id, r, who, may := m.row(t)
	to := person(t)
	err := m.transfer(who, id, to)
	m.expect(t, "transfer", err, may)
	if err == nil {
		r.owner = to
	}
}

func (m *model) retireOne(t *rapid.T) {
	id, r, who, may := m.row(t)
	hour := rapid.SampledFrom([]uint64{0, r.hour, r.hour + 3600}).Draw(t, "hour")
	err := m.retire(who, id, rapid.SampledFrom([]string{"", "Bakery"}).Draw(t, "beneficiary"), hour)
	m.expect(t, "retire", err, may && hour != r.hour+3600)
	if err == nil {
		r.retired = true
		m.retired += r.to - r.from
	}
}

// wait lets time go by: seconds, or most of the time that a certificate has.
func (m *model) wait(t *rapid.T) {
	m.at(int64(m.now() + rapid.SampledFrom([]uint64{1, 3600, types.Day, 300 * types.Day}).Draw(t, "seconds")))
}

func (m *model) sellDevice(t *rapid.T) {
	m.owners[rapid.SampledFrom([]core.Key{roof, barn}).Draw(t, "device")] = person(t)
}

// check holds the keeper against the model.
func (m *model) check(t *rapid.T) {
	if err := m.keeper.Audit(m.ctx); err != nil {
		t.Fatal(err)
	}
	want := keeper.Totals{Issued: uint64(len(m.issued)), Retired: m.retired}
	for _, r := range m.rows {
		switch {
		case r.retired:
		case m.now() >= r.expires:
			want.Expired += r.to - r.from
		default:
			want.Active += r.to - r.from
		}
	}
	got, err := m.keeper.Totals(m.ctx)
	if err != nil || got != want || got.Issued != got.Active+got.Retired+got.Expired {
		t.Fatalf("totals %+v, %v, want %+v", got, err, want)
	}
	listed := 0
	for _, p := range people {
		res, err := m.query.ByOwner(m.ctx, &types.QueryByOwnerRequest{Owner: p.String(), Pagination: &query.PageRequest{Limit: 1000}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range res.Certificates {
			if r := m.rows[c.Id]; r == nil || r.owner != p || r.from != c.FromWh || r.to != c.ToWh || r.retired != (c.State == types.State_STATE_RETIRED) {
				t.Fatalf("%v lists %v, which is %+v", p, c, r)
			}
			listed++
		}
	}
	if listed != len(m.rows) {
		t.Fatalf("%d of %d certificates are listed", listed, len(m.rows))
	}
}

// roundTrip exports the state, imports it into an emptied store, and exports it again.
func roundTrip(t interface {
	fataler
	Fatalf(string, ...any)
}, f *fixture) {
	t.Helper()
	g, err := f.keeper.ExportGenesis(f.ctx)
	if err == nil {
		err = g.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	before, err := f.keeper.Totals(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	kv := f.bank.Store(types.StoreKey).OpenKVStore(f.ctx)
	it, err := kv.Iterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var keys [][]byte
	for ; it.Valid(); it.Next() {
		keys = append(keys, it.Key())
	}
	it.Close()
	for _, k := range keys {
		if err := kv.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.keeper.InitGenesis(f.ctx, g); err != nil {
		t.Fatal(err)
	}
	again, err := f.keeper.ExportGenesis(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	after, err := f.keeper.Totals(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(g.String(), again.String()) + cmp.Diff(before, after); diff != "" {
		t.Fatalf("export, import, export: %s", diff)
	}
}
