package econ

import (
	"encoding/csv"
	"math/big"
	"os"
	"strconv"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// prec is the precision of the closed forms below, in bits: far beyond the 60 that a wad needs.
const prec = 320

func float(x string) *big.Float {
	f, _, err := big.ParseFloat(x, 10, prec, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return f
}

// halves returns 2^(−num/den) by the series of exp at −ln 2·num/den, ln 2 itself by Σ 1/(k·2^k).
func halves(num, den int64) *big.Float {
	ln2, term := float("0"), float("1")
	for k := int64(1); k < prec; k++ {
		term.Quo(term, float("2"))
		ln2.Add(ln2, new(big.Float).Quo(term, new(big.Float).SetInt64(k)))
	}
	x := new(big.Float).Quo(new(big.Float).Mul(ln2, new(big.Float).SetInt64(-num)), new(big.Float).SetInt64(den))
	sum, power := float("1"), float("1")
	for k := int64(1); k < 200; k++ {
		power.Mul(power, x).Quo(power, new(big.Float).SetInt64(k))
		sum.Add(sum, power)
	}
	return sum
}

func floor(x *big.Float) string {
	i, _ := x.Int(nil)
	return i.String()
}

// TestHalfLives checks the closed form against Filecoin's simple reward, 330M·10¹⁸·(e^λ−1)·e^(−λt) attofil with
// λ = ln 2/6,307,200 epochs (six years of 30 s), and then this schedule's constants against the closed form.
func TestHalfLives(t *testing.T) {
	const six = 6_307_200
	up := new(big.Float).Quo(float("1"), halves(1, six))
	for epoch, want := range map[int64]string{0: "36266264293777134739", 2_555_000: "27387841182142501307"} {
		reward := new(big.Float).Mul(float("330e24"), new(big.Float).Sub(up, float("1")))
		if got := floor(reward.Mul(reward, halves(epoch, six))); got != want {
			t.Errorf("simple reward in epoch %d: %s, want %s", epoch, got, want)
		}
	}
	wad := func(x *big.Float) string { return floor(x.Mul(x, float("1e18"))) }
	for _, c := range []struct {
		name string
		got  uint64
		want string
	}{
		{"decay1", decay1, wad(halves(2, 1095))},
		{"decay2", decay2, wad(halves(1, 730))},
		{"lidRate", lidRate, wad(new(big.Float).Sub(float("1"), halves(1, 2190)))},
	} {
		if strconv.FormatUint(c.got, 10) != c.want {
			t.Errorf("%s is %d, want %s", c.name, c.got, c.want)
		}
	}
	// Stepping rounds down daily; after a half-life at most one wad's last digit a day is lost.
	d := Genesis(GenesisSupply).Advance(730, GenesisSupply)
	if lost := uint64(Wad/2) - d.D2; d.D2 > Wad/2 || lost > 730*2 {
		t.Errorf("D2 after its half-life is %d", d.D2)
	}
}

// TestLivepeerInflation is another network's known figure: LPT in attounits at 0.0452 % a round.
func TestLivepeerInflation(t *testing.T) {
	supply, err := types.ParseU128("21645383016495782629665363")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := MulDivU128(supply, types.U64(452), types.U64(1_000_000)); err != nil || got.String() != "9783713123456093748608" {
		t.Errorf("minted %s, %v", got, err)
	}
}

// TestGrowth plays twelve years in which nobody pays, every category reaches its target and the reference value
// never binds: the fastest that supply can grow. testdata/growth.csv holds year, supply in ustone and growth in
// thousandths of a percent.
func TestGrowth(t *testing.T) {
	p := Six()
	for i := range p.Category {
		p.Category[i].Target = types.U64(1)
		p.Category[i].Ref, p.Category[i].Unit = 1_000_000_000_000, 1
	}
	weight := func(e types.Epoch) (ws []Weight) {
		for _, k := range p.Category {
			w, err := Target(k.Target, e)
			if err != nil {
				t.Fatal(err)
			}
			ws = append(ws, Weight{k.Category, w})
		}
		return ws
	}
	file, err := os.Open("testdata/growth.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want, err := csv.NewReader(file).ReadAll()
	if err != nil || len(want) != 13 {
		t.Fatalf("%d lines, %v", len(want), err)
	}
	supply, last := GenesisSupply, GenesisSupply
	day := Genesis(supply)
	for e := types.Epoch(0); e < 12*EpochsPerYear; e++ {
		day = day.Advance(DayOf(e), supply)
		emission, err := Emit(&p, day, Work{Epoch: e, Price: 1, Weight: weight(e)})
		if err != nil {
			t.Fatal(err)
		}
		if e == 0 && emission.Category[0].Amount != emission.Category[0].Budget {
			t.Fatalf("something binds: %+v", emission)
		}
		supply += emission.Total()
		if year := int(e+1) / EpochsPerYear; int(e+1)%EpochsPerYear == 0 {
			growth, _ := MulDiv(uint64(supply-last), 100_000, uint64(last))
			got := []string{strconv.Itoa(year), strconv.FormatUint(uint64(supply), 10), strconv.FormatUint(growth, 10)}
			for i := range got {
				if got[i] != want[year][i] {
					t.Errorf("year %d: %v, want %v", year, got, want[year])
					break
				}
			}
			last = supply
		}
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		epoch types.Epoch
		want  uint64
	}{
		{0, 1_000}, {4_380, 1_500}, {8_759, 1_999}, {8_760, 2_000}, {13_140, 3_000}, {5 * 8_760, 32_000}, {6*8_760 - 1, 63_996},
		{6 * 8_760, 64_000}, {7*8_760 + 5, 64_000}, {1 << 63, 64_000},
	} {
		if got, err := Target(types.U64(1_000), c.epoch); err != nil || got != types.U64(c.want) {
			t.Errorf("target in epoch %d is %s, %v; want %d", c.epoch, got, err, c.want)
		}
	}
	for _, e := range []types.Epoch{8_759, 8_760} {
		if k, err := Target(types.MaxU128, e); types.ReasonOf(err) != types.EconRange {
			t.Errorf("target of the greatest weight in epoch %d is %s, %v", e, k, err)
		}
	}
}

func TestAdvance(t *testing.T) {
	d := Genesis(5)
	if d.D1 != Wad || d.D2 != Wad || d.Number != 0 || d.Supply != 5 {
		t.Errorf("genesis is %+v", d)
	}
	one := d.Advance(1, 7)
	if one != (Day{1, decay1, decay2, 7}) {
		t.Errorf("day 1 is %+v", one)
	}
	if again := one.Advance(1, 9); again != one {
		t.Errorf("a day starts twice: %+v", again)
	}
	if steps, jump := one.Advance(2, 8).Advance(3, 9), one.Advance(3, 9); steps != jump {
		t.Errorf("step by step %+v, at once %+v", steps, jump)
	}
	if end := d.Advance(1<<63, 9); end.D1 != 0 || end.D2 != 0 || end.Number != 1<<63 {
		t.Errorf("at the end of time %+v", end)
	}
}

// TestEmitUnderLid: what is minted never exceeds the lid, the validators come first, the bonus second, and the
// categories share what is left in proportion.
func TestEmitUnderLid(t *testing.T) {
	p := Six()
	d := Genesis(GenesisSupply)
	heavy := []Weight{{types.Wireless, types.U64(1e18)}, {types.Compute, types.U64(1e18)}, {types.Mapping, types.U64(1e18)}, {types.IoT, types.U64(1e18)}}
	emit := func(w Work) Emission {
		t.Helper()
		w.Price, w.Weight = 1, heavy
		e, err := Emit(&p, d, w)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	free := emit(Work{})
	if free.Total() >= free.Lid || free.Category[0].Amount == 0 || free.Category[0].Amount != free.Category[0].Budget {
		t.Fatalf("without a bonus the lid binds: %+v", free)
	}
	full := emit(Work{Bonus: 1 << 60})
	if full.Bonus != full.Lid-full.Security || full.Total() != full.Lid || full.Category[0].Amount != 0 {
		t.Errorf("a bonus beyond the lid: %+v", full)
	}
	half := emit(Work{Bonus: free.Lid - free.Security - free.Category[0].Amount})
	if got, want := half.Category[0].Amount, free.Category[0].Amount/4; got != want || half.Total() > half.Lid {
		t.Errorf("four categories share %d: %+v", free.Category[0].Amount, half)
	}
	if rich := emit(Work{Fees: free.Security - 1}); rich.Security != 1 {
		t.Errorf("fees of all but one leave %d to mint", rich.Security)
	}
	if rich := emit(Work{Fees: free.Security + 1}); rich.Security != 0 {
		t.Errorf("fees beyond the budget leave %d to mint", rich.Security)
	}
	last := Day{D1: Wad, D2: Wad, Supply: MaxSupply}
	if e, err := Emit(&p, last, Work{Price: 1, Weight: heavy, Bonus: 9}); err != nil || e.Total() != 0 {
		t.Errorf("at the greatest supply %+v, %v", e, err)
	}
	if e, err := Emit(&p, d, Work{Price: 0, Weight: heavy}); err != nil || e.Total() != e.Security {
		t.Errorf("an unpriced epoch emits %+v, %v", e, err)
	}
	if e, err := Emit(&p, d, Work{Price: 1}); err != nil || e.Total() != e.Security || e.Security == 0 {
		t.Errorf("no devices: %+v, %v", e, err)
	}
	if e, err := Emit(&p, d, Work{Price: 1, Weight: heavy, Demand: []Demand{{types.Wireless, 1e12}, {types.Compute, 1 << 63}}}); err != nil ||
		e.Category[0].Amount != 0 || e.Category[1].Amount != 0 || e.Category[4].Amount == 0 {
		t.Errorf("paid demand has replaced the subsidy of two: %+v, %v", e, err)
	}
}
