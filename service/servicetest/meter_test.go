package servicetest

import (
	"context"
	"encoding/binary"
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

// drawMeter draws an epoch of a meter that reads out, echoes, is watched and is paid.
func drawMeter(t *rapid.T) *service.Input {
	key := meterKey(rapid.ByteRange(1, 9).Draw(t, "device"))
	register := rapid.Uint64Max(1<<40).Draw(t, "register")
	in := &service.Input{
		Chain: "cairn-test-1", Epoch: 5, Seed: types.Hash{9}, Challenged: rapid.Bool().Draw(t, "challenged"), Params: Meter{}.Spec().Params,
		Device: &tally.Device{Key: key.Public(), Cell: types.Cell(rapid.Uint64Max(3).Draw(t, "cell"))},
	}
	if rapid.Bool().Draw(t, "known") {
		in.State = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, register), rapid.Uint32Max(10000).Draw(t, "quality"))
	} else {
		register = 0
	}
	m := &MeterRegister{Device: key.Public(), Register: register}
	for i := range rapid.IntRange(0, 3).Draw(t, "readings") {
		m.Register += rapid.Uint64Max(3<<19).Draw(t, "ticks")
		in.Evidence = append(in.Evidence, say(in, key, MeterReading, uint64(i), m.Encode()))
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
	return in
}

func TestMeter(t *testing.T) { Run(t, Meter{}, drawMeter) }

func TestMeterRules(t *testing.T) {
	key := meterKey(1)
	in := &service.Input{
		Chain: "cairn-test-1", Epoch: 5, Seed: types.Hash{9}, Challenged: true, Params: Meter{}.Spec().Params,
		Device: &tally.Device{Key: key.Public(), Cell: 3},
		State:  binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, 1000), 5000),
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
	want := &service.Output{
		Evidence: []service.Verdict{{Reason: MeterFalls}, {Reason: MeterFast}, {}, {Reason: MeterEchoWrong}, {}, {Reason: MeterEchoWrong}, {Reason: types.UnknownAuthor}},
		Receipts: []types.Reason{"", MeterBeyond},
		Ordered:  []tally.Ordered{{Class: MeterTicks, Units: types.U64(2500)}},
		Quality:  5500,
		Totals:   []uint64{1, 2500},
		Summary:  binary.BigEndian.AppendUint64(nil, 2500),
		State:    binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, 3500), 5500),
	}
	if diff := cmp.Diff(want, Meter{}.Verify(in), compare, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Two witnesses prove nothing; three do, and one liar among them changes nothing.
	for i, register := range []uint64{2000, 9999, 2100} {
		saw := MeterRegister{Device: key.Public(), Register: register}
		in.Reports = append(in.Reports, say(in, meterKey(byte(10+i)), MeterSighted, 1, saw.Encode()))
		if got, want := (Meter{}.Verify(in).Evidence[2]), i == 2; got.Proof != want || (got.Reason == MeterOverstated) != want {
			t.Errorf("%d witnesses: %+v", i+1, got)
		}
	}
	again := in.Reports[0]
	in.Reports = in.Reports[:2]
	in.Reports = append(in.Reports, again)
	if out := (Meter{}.Verify(in)); out.Evidence[2].Proof || out.Reports[2].Reason == "" {
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
	device := func(n byte, cell types.Cell, ticks uint64) tally.Summary {
		return tally.Summary{Device: &tally.Device{Key: types.Key{n}, Cell: cell}, Summary: binary.BigEndian.AppendUint64(nil, ticks)}
	}
	in := &tally.CrossInput{
		Summaries: []tally.Summary{device(1, 7, 2500), device(2, 7, 999), device(3, 8, 4000)},
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
		Outputs: []tally.OutputData{{Data: types.Encode(&MeterSale{Device: types.Key{1}, Ticks: 2000})}, {Data: types.Encode(&MeterSale{Device: types.Key{3}, Ticks: 4000})}},
	}
	if diff := cmp.Diff(want, Meter{}.Cross(in), compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
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

func TestMeterProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{key: meterKey(1).Public(), notices: make(chan role.Notice, 1)}
		done := make(chan error, 1)
		go func() { done <- MeterProvider{Step: 7}.Run(ctx, b) }()
		line := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, 100), 5000)
		for _, n := range []role.Notice{
			{Epoch: 4}, {Epoch: 4, Seed: types.Hash{1}, Challenged: true}, {Epoch: 4, Seed: types.Hash{1}, Challenged: true},
			{Epoch: 5, Seed: types.Hash{2}, Line: line}, {Epoch: 6, Seed: types.Hash{3}, Challenged: true, Line: line},
		} {
			b.notices <- n
			synctest.Wait()
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"read 7", "echo", "read 107", "read 107", "echo"}, b.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
