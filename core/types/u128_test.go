package types

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

func (u U128) big() *big.Int {
	b := new(big.Int).SetUint64(u.Hi)
	return b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(u.Lo))
}

var two128 = new(big.Int).Lsh(big.NewInt(1), 128)

// fits returns x as a U128, or false where U128 must answer with ErrOverflow.
func fits(x *big.Int) (U128, bool) {
	if x.Sign() < 0 || x.Cmp(two128) >= 0 {
		return U128{}, false
	}
	lo := new(big.Int).And(x, new(big.Int).SetUint64(1<<64-1))
	return U128{new(big.Int).Rsh(x, 64).Uint64(), lo.Uint64()}, true
}

// drawWord favours words near powers of two, where carries happen.
func drawWord(t *rapid.T, label string) uint64 {
	shift := rapid.IntRange(0, 64).Draw(t, label+" shift")
	off := rapid.Uint64Range(0, 3).Draw(t, label+" offset")
	if rapid.Bool().Draw(t, label+" random") {
		return rapid.Uint64().Draw(t, label)
	}
	if shift == 64 {
		return -off
	}
	return 1<<shift - off
}

func TestU128AgreesWithBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := U128{drawWord(t, "uh"), drawWord(t, "ul")}
		v := U128{drawWord(t, "vh"), drawWord(t, "vl")}
		mul, div := drawWord(t, "mul"), drawWord(t, "div")
		check := func(name string, got U128, err error, exact *big.Int) {
			t.Helper()
			want, ok := fits(exact)
			if !ok && !errors.Is(err, ErrOverflow) {
				t.Fatalf("%s: got %s, %v, want overflow", name, got, err)
			}
			if ok && (err != nil || got != want) {
				t.Fatalf("%s: got %s, %v, want %s", name, got, err, exact)
			}
		}
		sum, err := u.Add(v)
		check("add", sum, err, new(big.Int).Add(u.big(), v.big()))
		diff, err := u.Sub(v)
		check("sub", diff, err, new(big.Int).Sub(u.big(), v.big()))
		if div != 0 {
			exact := new(big.Int).Mul(u.big(), new(big.Int).SetUint64(mul))
			got, err := u.MulDiv(mul, div)
			check("muldiv", got, err, exact.Quo(exact, new(big.Int).SetUint64(div)))
		} else if _, err := u.MulDiv(mul, 0); !errors.Is(err, ErrOverflow) {
			t.Fatalf("division by zero: %v", err)
		}
		check("mul64", Mul64(mul, div), nil, new(big.Int).Mul(new(big.Int).SetUint64(mul), new(big.Int).SetUint64(div)))
		for _, x := range []U128{u, U64(u.Lo), Mul64(u.Hi, u.Hi), {u.Hi | 1<<63, u.Lo}} {
			if got, want := x.Sqrt(), new(big.Int).Sqrt(x.big()); new(big.Int).SetUint64(got).Cmp(want) != 0 {
				t.Fatalf("square root of %s: %d, want %s", x, got, want)
			}
		}
		if got, want := u.Cmp(v), u.big().Cmp(v.big()); got != want {
			t.Fatalf("%s cmp %s = %d, want %d", u, v, got, want)
		}
		if u.String() != u.big().String() {
			t.Fatalf("prints %s, want %s", u, u.big())
		}
		if back, err := ParseU128(u.String()); err != nil || back != u {
			t.Fatalf("parse %s: %s, %v", u, back, err)
		}
		ours, _ := u.MarshalCBOR()
		theirs, err := deterministic.Marshal(u.big())
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("%s encodes as %x, the library says %x, %v", u, ours, theirs, err)
		}
		var back U128
		if err := back.UnmarshalCBOR(ours); err != nil || back != u {
			t.Fatalf("decode %x: %s, %v", ours, back, err)
		}
	})
}

var deterministic, _ = cbor.EncOptions{Sort: cbor.SortCoreDeterministic, BigIntConvert: cbor.BigIntConvertShortest}.EncMode()

func TestU128Golden(t *testing.T) {
	for _, c := range []struct{ decimal, cbor string }{
		{"0", "00"},
		{"23", "17"},
		{"24", "1818"},
		{"255", "18ff"},
		{"256", "190100"},
		{"65535", "19ffff"},
		{"65536", "1a00010000"},
		{"4294967295", "1affffffff"},
		{"4294967296", "1b0000000100000000"},
		{"18446744073709551615", "1bffffffffffffffff"},
		{"18446744073709551616", "c249010000000000000000"}, // RFC 8949, appendix A
		{"100000000000000000000000000000000000000", "c2504b3b4ca85a86c47a098a224000000000"},
		{"340282366920938463463374607431768211455", "c250ffffffffffffffffffffffffffffffff"},
	} {
		u, err := ParseU128(c.decimal)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := u.MarshalCBOR()
		if got := hex.EncodeToString(b); got != c.cbor || u.String() != c.decimal {
			t.Errorf("%s: encodes as %s, prints %s, want %s", c.decimal, got, u, c.cbor)
		}
	}
}

func TestU128SqrtEdges(t *testing.T) {
	const most = 1<<64 - 1
	square := Mul64(most, most)
	below, _ := square.Sub(U64(1))
	for _, c := range []struct {
		u    U128
		root uint64
	}{
		{U128{}, 0}, {U64(1), 1}, {U64(3), 1}, {U64(4), 2}, {U64(most), 1<<32 - 1}, {U128{Hi: 1}, 1 << 32}, {Mul64(1<<63, 1<<63), 1 << 63},
		{below, most - 1}, {square, most}, {MaxU128, most}, {U128{most - 2, most}, most - 1}, {U128{most - 2, 0}, most - 1},
	} {
		if got := c.u.Sqrt(); got != c.root {
			t.Errorf("square root of %s: %d, want %d", c.u, got, c.root)
		}
	}
}

func TestU128RefusesOtherForms(t *testing.T) {
	for _, s := range []string{
		"", "1817", "18", "1900ff", "190000", "1a0000ffff", "1b00000000ffffffff", "1b01", "0000", "20", "3903e7", "40", "f6", "f97c00",
		"fb3ff0000000000000", "c240", "c24101", "c248ffffffffffffffff", "c249000100000000000000", "c24a00010000000000000000",
		"c25101ffffffffffffffffffffffffffffffff", "c25811ffffffffffffffffffffffffffffffffff", "c25809010000000000000000",
		"c349010000000000000000", "c25f49010000000000000000ff", "c24901000000000000000000", "c2490100000000000000", "d8c249010000000000000000",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		u := U64(7)
		if err := u.UnmarshalCBOR(b); err == nil || u != U64(7) {
			t.Errorf("%s decodes to %s, %v", s, u, err)
		}
	}
	for _, s := range []string{"", "00", "01", "-1", "+1", " 1", "1 ", "1e3", "0x1", "340282366920938463463374607431768211456",
		"999999999999999999999999999999999999999", "1000000000000000000000000000000000000000", "١"} {
		if u, err := ParseU128(s); err == nil {
			t.Errorf("%q parses to %s", s, u)
		}
	}
}

func FuzzU128CBOR(f *testing.F) {
	for _, u := range []U128{{}, U64(23), U64(24), U64(1 << 32), U64(1<<64 - 1), {Hi: 1}, MaxU128} {
		b, _ := u.MarshalCBOR()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var u U128
		if u.UnmarshalCBOR(b) != nil {
			return
		}
		if again, _ := u.MarshalCBOR(); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %s, which encodes as %x", b, u, again)
		}
	})
}
