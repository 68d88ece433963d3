package servicetest

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/role"
)

func meterKey(n byte) types.PrivateKey { return types.NewPrivateKey(types.Hash{31: n}) }

func say(in *service.Input, by types.PrivateKey, kind evidence.Kind, seq uint64, body []byte) *evidence.Envelope {
	return evidence.Sign(by, evidence.Payload{Chain: in.Chain, Category: MeterCategory, Kind: kind, Epoch: in.Epoch, Seq: seq, Body: body})
}

// meterPanel is the panel of an epoch in which the owners of keys 100 to 105 are verifiers, of whom four are
// drawn for each device.
func meterPanel(seed types.Hash) *tally.Panel {
	r := &Registry{}
	for i := range byte(6) {
		r.Voters = append(r.Voters, tally.Attester{Key: meterKey(100 + i).Public(), Owner: types.Account{100 + i}, Power: 10})
	}
	slices.SortFunc(r.Voters, func(a, b tally.Attester) int { return slices.Compare(a.Key[:], b.Key[:]) })
	p, err := tally.NewPanel(Meter().Spec, r, seed)
	if err != nil {
		panic(err)
	}
	return p
}

// drawMeter draws an epoch of a meter that reads out, echoes, is watched and is paid.
func drawMeter(t *rapid.T) *service.Input {
	key := meterKey(rapid.ByteRange(1, 9).Draw(t, "device"))
	register := rapid.Uint64Max(1<<40).Draw(t, "register")
	in := &service.Input{
		Chain: "cairn-test-1", Epoch: 5, Seed: types.Hash{9}, Challenged: rapid.Bool().Draw(t, "challenged"), Params: Meter().Spec.Defaults(),
		Panel:  meterPanel(types.Hash{9}),
		Device: &tally.Device{Key: key.Public(), Cell: types.Cell(rapid.Uint64Max(3).Draw(t, "cell"))},
	}
	if rapid.Bool().Draw(t, "known") {
		in.State = MeterLine{Register: register, Quality: types.Bp(rapid.Uint32Max(10000).Draw(t, "quality")), Number: rapid.Uint64Max(5).Draw(t, "number"),
			Least: rapid.Uint64Max(2*MeterPrice).Draw(t, "least"), Sold: rapid.Uint64Max(register).Draw(t, "sold")}.Encode()
	} else {
		register = 0
	}
	m := &MeterRegister{Device: key.Public(), Register: register}
	for i := range rapid.IntRange(0, 3).Draw(t, "readings") {
		m.Register += rapid.Uint64Max(3<<19).Draw(t, "ticks")
		in.Evidence = append(in.Evidence, say(in, key, MeterReading, uint64(i), m.Encode()))
	}
	if things := rapid.IntRange(0, 3).Draw(t, "things"); things > 0 {
		r := roster(t, 0, 1, 2)
		in.Device.Fleet = r.Fleet()
		for i := range things {
			m := shows(r, i, rapid.IntRange(0, i).Draw(t, "signer"), key.Public(), rapid.Uint64Max(1<<19).Draw(t, "counted"))
			in.Evidence = append(in.Evidence, say(in, key, MeterThing, uint64(20+i), m.Encode()))
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "echoes") {
		seed := types.Hash{rapid.ByteRange(9, 10).Draw(t, "seed")}
		in.Evidence = append(in.Evidence, say(in, key, MeterEcho, 10, MeterChallenge(seed, key.Public())))
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "witnesses") {
		saw := MeterRegister{Device: key.Public(), Register: register + rapid.Uint64Max(1<<20).Draw(t, "saw")}
		in.Reports = append(in.Reports, say(in, meterKey(byte(100+i)), MeterSighted, 1, saw.Encode()))
	}
	for range rapid.IntRange(0, 3).Draw(t, "receipts") {
		units := register + rapid.Uint64Max(1000).Draw(t, "units")
		in.Receipts = append(in.Receipts, &tally.ReceiptItem{Receipt: &receipt.Receipt{Units: types.U64(units)}, Class: MeterTicks, Price: 1})
	}
	for range rapid.IntRange(0, 3).Draw(t, "asks") {
		a := MeterAsk(rapid.Uint64Max(9).Draw(t, "number"), rapid.Uint64Max(2*MeterPrice).Draw(t, "price"), 100)
		if rapid.Bool().Draw(t, "bare") {
			a.Terms = nil
		}
		in.Asks = append(in.Asks, &a)
	}
	return in
}

func TestMeter(t *testing.T) { Run(t, Meter(), drawMeter) }

func TestMeterRules(t *testing.T) {
	key := meterKey(1)
	in := &service.Input{
		Chain: "cairn-test-1", Epoch: 5, Seed: types.Hash{9}, Challenged: true, Params: Meter().Spec.Defaults(),
		Panel:  meterPanel(types.Hash{9}),
		Device: &tally.Device{Key: key.Public(), Cell: 3},
		State:  MeterLine{Register: 1000, Quality: 5000, Number: 3, Least: 7, Sold: 2}.Encode(),
	}
	reading := func(register uint64) *evidence.Envelope {
		return say(in, key, MeterReading, 1, (&MeterRegister{Device: key.Public(), Register: register}).Encode())
	}
	in.Evidence = []*evidence.Envelope{
		reading(999), reading(1001 + MeterMost), reading(3500),
		say(in, key, MeterEcho, 2, MeterChallenge(in.Seed, meterKey(2).Public())),
		say(in, key, MeterEcho, 3, MeterChallenge(in.Seed, key.Public())),
		say(in, key, MeterEcho, 4, MeterChallenge(in.Seed, key.Public())),
		say(in, key, MeterReading, 5, (&MeterRegister{Device: meterKey(2).Public(), Register: 4000}).Encode()),
	}
	in.Receipts = []*tally.ReceiptItem{
		{Receipt: &receipt.Receipt{Units: types.U64(3500)}}, {Receipt: &receipt.Receipt{Units: types.U64(3501)}},
	}
	for _, a := range []receipt.Ask{MeterAsk(3, 1, 9), MeterAsk(5, 20, 9), MeterAsk(9, 30, 9), MeterAsk(8, 40, 9), {Price: 50}, {Terms: []byte{0xff}}} {
		in.Asks = append(in.Asks, &a)
	}
	line := MeterLine{Register: 3500, Quality: 5500, Number: 9, Least: 30, Sold: 2}.Encode()
	want := &service.Output{
		Asks:     []types.Reason{MeterAskStale, MeterAskStale, "", MeterAskStale, "", types.BadEncoding},
		Evidence: []service.Verdict{{Reason: MeterFalls}, {Reason: MeterFast}, {}, {Reason: MeterEchoWrong}, {}, {Reason: MeterEchoWrong}, {Reason: types.UnknownAuthor}},
		Receipts: []types.Reason{"", MeterBeyond},
		Ordered:  []tally.Ordered{{Class: MeterTicks, Units: types.U64(2500)}},
		Quality:  5500,
		Totals:   []uint64{1, 2500},
		Summary:  append(binary.BigEndian.AppendUint64(nil, 2500), line...),
		State:    line,
	}
	if diff := cmp.Diff(want, Meter().Verify(in), compare, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Two witnesses prove nothing; three do, and one liar among them changes nothing.
	drawn := in.Panel.Draw(in.Device, MeterSight)
	if len(drawn) != MeterSeats {
		t.Fatalf("%d witnesses are drawn", len(drawn))
	}
	by := func(drew bool, n int) types.PrivateKey { // the nth verifier that was drawn, or was not
		for i := range byte(6) {
			if slices.Contains(drawn, meterKey(100+i).Public()) != drew {
				continue
			}
			if n--; n < 0 {
				return meterKey(100 + i)
			}
		}
		panic("there is none")
	}
	saw := MeterRegister{Device: key.Public(), Register: 1}
	for range MeterPanel {
		in.Reports = append(in.Reports, say(in, by(false, 0), MeterSighted, uint64(len(in.Reports)), saw.Encode()))
		in.Reports = append(in.Reports, say(in, meterKey(7), MeterSighted, uint64(len(in.Reports)), saw.Encode()))
	}
	if out := (Meter().Verify(in)); out.Evidence[2].Proof || out.Reports[0].Reason != MeterNotDrawn || out.Reports[1].Reason != MeterNotDrawn {
		t.Errorf("witnesses who were not drawn prove something: %+v", out)
	}
	in.Reports = nil
	for i, register := range []uint64{2000, 9999, 2100} {
		saw := MeterRegister{Device: key.Public(), Register: register}
		in.Reports = append(in.Reports, say(in, by(true, i), MeterSighted, 1, saw.Encode()))
		if got, want := (Meter().Verify(in).Evidence[2]), i == 2; got.Proof != want || (got.Reason == MeterOverstated) != want {
			t.Errorf("%d witnesses: %+v", i+1, got)
		}
	}
	again := in.Reports[0]
	in.Reports = in.Reports[:2]
	in.Reports = append(in.Reports, again)
	if out := (Meter().Verify(in)); out.Evidence[2].Proof || out.Reports[2].Reason == "" {
		t.Errorf("one witness counts twice: %+v", out)
	}
}

func TestMeterCross(t *testing.T) {
	order := func(n byte, reserved types.Credit, limit, most uint64) *tally.LiveOrder {
		return &tally.LiveOrder{
			Order:    &receipt.Order{Payer: types.Key{n}, Session: types.NewSessionID(9, [12]byte{n}), Limit: limit, Most: types.U64(most)},
			Reserved: reserved,
		}
	}
	line := func(least, sold uint64) MeterLine {
		return MeterLine{Register: 9000, Quality: 5500, Number: 1, Least: least, Sold: sold}
	}
	device := func(n byte, cell types.Cell, ticks, least uint64) tally.Summary {
		return tally.Summary{Device: &tally.Device{Key: types.Key{n}, Cell: cell},
			Summary: append(binary.BigEndian.AppendUint64(nil, ticks), line(least, 100).Encode()...)}
	}
	in := &tally.CrossInput{
		Summaries: []tally.Summary{device(1, 7, 2500, 0), device(2, 7, 999, 0), device(4, 7, 5000, MeterPrice+1), device(3, 8, 4000, MeterPrice)},
		Orders: []*tally.LiveOrder{
			order(1, 16000, MeterPrice, 1<<40),   // 3,000 ticks, and 1,000 micro-credits left over
			order(2, 1<<40, MeterPrice-1, 1<<40), // does not pay enough
			order(3, 1<<40, MeterPrice+1, 1500),  // whole thousands: 1,000
			order(4, 1<<40, MeterPrice, 1<<40),   // the rest
			order(5, 1<<40, MeterPrice, 1<<40),   // nothing is left
		},
		Cells: []tally.CellState{{Cell: 8, State: binary.BigEndian.AppendUint64(nil, 50)}},
	}
	fill := func(n, device byte, ticks uint64) tally.Fill {
		return tally.Fill{
			Session: tally.SessionKey{Payer: types.Key{n}, ID: types.NewSessionID(9, [12]byte{n})}, Device: types.Key{device},
			Units: types.U64(ticks), Amount: types.Credit(ticks * MeterPrice / MeterScale),
		}
	}
	want := &tally.CrossOutput{
		Fills: []tally.Fill{fill(1, 1, 2000), fill(1, 3, 1000), fill(3, 3, 1000), fill(4, 3, 2000)},
		Cells: []tally.CellState{
			{Cell: 7, State: binary.BigEndian.AppendUint64(nil, 2000)}, {Cell: 8, State: binary.BigEndian.AppendUint64(nil, 4050)},
		},
		States: []tally.DeviceState{
			{Device: types.Key{1}, State: line(0, 2100).Encode()}, {Device: types.Key{3}, State: line(MeterPrice, 4100).Encode()},
		},
	}
	for _, sale := range []struct {
		device byte
		buyers []tally.Fill
	}{{1, want.Fills[:1]}, {3, want.Fills[1:]}} {
		var ticks uint64
		var buyers []MeterBuyer
		for _, f := range sale.buyers {
			ticks += f.Units.Lo
			buyers = append(buyers, MeterBuyer{Session: f.Session, Ticks: f.Units.Lo})
		}
		detail := types.Encode(buyers)
		want.Outputs = append(want.Outputs, tally.OutputData{
			Data: types.Encode(&MeterSale{Device: types.Key{sale.device}, Ticks: ticks, Buyers: types.Sum(detail)}), Detail: detail,
		})
	}
	for _, broken := range [][]byte{nil, {0xff}, (&MeterRules{}).Encode()} {
		in.Params.Rules = broken
		if diff := cmp.Diff(want, Meter().Cross(in), compare); diff != "" {
			t.Errorf("rules %x (-want +got):\n%s", broken, diff)
		}
		if err := Meter().CheckRules(broken); (err == nil) != (broken == nil) {
			t.Errorf("rules %x are checked: %v", broken, err)
		}
	}
	in.Params.Rules = (&MeterRules{Price: MeterPrice - 1}).Encode() // cheaper than one device sells for, and cheap enough for order 2
	out := Meter().Cross(in)
	if n := len(out.Outputs); n != 1 || len(out.Fills) != 1 || out.Fills[0].Amount != 2*(MeterPrice-1) {
		t.Errorf("cheaper rules: %+v", out)
	}
}

// bench is a role.Host of a provider that submits only.
type bench struct {
	role.Host
	key     types.Key
	notices chan role.Notice
	got     []string
}

func (b *bench) Key() types.Key                             { return b.key }
func (b *bench) Room() error                                { return nil }
func (b *bench) Notices(context.Context) <-chan role.Notice { return b.notices }
func (b *bench) Submit(_ context.Context, kind evidence.Kind, body []byte) error {
	var m MeterRegister
	switch {
	case kind == MeterReading && types.Decode(body, &m) == nil && m.Device == b.key:
		b.got = append(b.got, "read "+types.U64(m.Register).String())
	case kind == MeterEcho:
		b.got = append(b.got, "echo")
	}
	return nil
}

func (b *bench) Offer(_ context.Context, a receipt.Ask) (*receipt.SignedAsk, error) {
	return &receipt.SignedAsk{Ask: a}, nil
}

func (b *bench) SubmitAsk(_ context.Context, a *receipt.SignedAsk) error {
	var n uint64
	err := types.Decode(a.Ask.Terms, &n)
	b.got = append(b.got, "ask "+types.U64(n).String()+" for "+types.U64(a.Ask.Price).String())
	return err
}

func TestMeterProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{key: meterKey(1).Public(), notices: make(chan role.Notice, 1)}
		done := make(chan error, 1)
		go func() { done <- MeterProvider{Step: 7, Least: 30}.Run(ctx, b) }()
		line := MeterLine{Register: 100, Quality: 5000, Number: 4, Least: 20}.Encode()
		told := MeterLine{Register: 100, Quality: 5000, Number: 5, Least: 30}.Encode()
		for _, n := range []role.Notice{
			{Epoch: 4}, {Epoch: 4, Seed: types.Hash{1}, Challenged: true}, {Epoch: 4, Seed: types.Hash{1}, Challenged: true},
			{Epoch: 5, Seed: types.Hash{2}, Tallied: 4, Line: line}, {Epoch: 6, Seed: types.Hash{3}, Tallied: 4, Challenged: true, Line: line},
			{Epoch: 7, Tallied: 6, Line: told},
		} {
			b.notices <- n
			synctest.Wait()
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"read 7", "ask 1 for 30", "echo", "read 107", "ask 5 for 30", "read 107", "echo", "read 107"}, b.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
