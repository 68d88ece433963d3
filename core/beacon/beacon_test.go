package beacon

import (
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

const chain = "cairn-test-1"

func key(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{n}) }

// TestAt: a proof over a number of a purpose shows nothing of another number, purpose, epoch or chain, and is
// no leader's.
func TestAt(t *testing.T) {
	seed := types.Sum([]byte("seed"))
	proof := ProveAt(key(1), chain, "lots", seed, 3)
	out, err := OutputAt(key(1).Public(), chain, "lots", seed, 3, proof)
	if err != nil || out == [64]byte{} {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another key":     second(OutputAt(key(2).Public(), chain, "lots", seed, 3, proof)),
		"another seed":    second(OutputAt(key(1).Public(), chain, "lots", types.Sum([]byte("other")), 3, proof)),
		"another number":  second(OutputAt(key(1).Public(), chain, "lots", seed, 4, proof)),
		"another purpose": second(OutputAt(key(1).Public(), chain, "slots", seed, 3, proof)),
		"another chain":   second(OutputAt(key(1).Public(), "cairn-test-2", "lots", seed, 3, proof)),
		"a leader's":      second(Output(key(1).Public(), chain, seed, 3, proof)),
		"cut":             second(OutputAt(key(1).Public(), chain, "lots", seed, 3, proof[1:])),
	} {
		if types.ReasonOf(err) != types.BadSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVRF(t *testing.T) {
	seed := types.Sum([]byte("seed"))
	proof := Prove(key(1), chain, seed, 3)
	out, err := Output(key(1).Public(), chain, seed, 3, proof)
	if err != nil {
		t.Fatal(err)
	}
	if again := Prove(key(1), chain, seed, 3); hex.EncodeToString(again) != hex.EncodeToString(proof) {
		t.Error("a leader can choose among proofs")
	}
	for name, err := range map[string]error{
		"another key":    second(Output(key(2).Public(), chain, seed, 3, proof)),
		"another seed":   second(Output(key(1).Public(), chain, types.Sum([]byte("other")), 3, proof)),
		"another region": second(Output(key(1).Public(), chain, seed, 4, proof)),
		"another chain":  second(Output(key(1).Public(), "other-1", seed, 3, proof)),
		"cut":            second(Output(key(1).Public(), chain, seed, 3, proof[:ProofSize-1])),
		"none":           second(Output(key(1).Public(), chain, seed, 3, nil)),
	} {
		if types.ReasonOf(err) != types.BadSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
	for at := range proof {
		bad := append([]byte(nil), proof...)
		bad[at] ^= 1
		if got, err := Output(key(1).Public(), chain, seed, 3, bad); err == nil && got != out {
			t.Errorf("byte %d flipped: a second output", at)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestGolden fixes the bytes.
func TestGolden(t *testing.T) {
	seed := Genesis(chain, 1_790_000_000)
	out, err := Output(key(1).Public(), chain, seed, 0, Prove(key(1), chain, seed, 0))
	if err != nil {
		t.Fatal(err)
	}
	s := NewStream(seed, "golden")
	for name, c := range map[string][2]string{
		"genesis":         {seed.String(), goldenGenesis},
		"output":          {hex.EncodeToString(out[:16]), goldenOutput},
		"next":            {Next(seed, [][64]byte{out}).String(), goldenNext},
		"next of nothing": {Next(seed, nil).String(), goldenNextNone},
		"stream":          {hex.EncodeToString([]byte{byte(s.Below(256)), byte(s.Below(256)), byte(s.Below(256)), byte(s.Below(256)), byte(s.Below(256))}), goldenStream},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %s, want %s", name, c[0], c[1])
		}
	}
}

const (
	goldenGenesis  = "fb606568f35b3ec0113fb670a29787062eed3a79d58341c0e8c3f5a189984b79"
	goldenOutput   = "7eebe3f265efe2bb2502e815f6f36b80"
	goldenNext     = "ef1fc75a49473bbc5a68fbe421193c857659b3567952894a920a6aee99ea556b"
	goldenNextNone = "2f1b31d6a7c708ae02c7318e2a65ad86cdaa4d9ff7cd380d5e6c4f010c5dccbc"
	goldenStream   = "854d0c0a13"
)

// TestDrawIsFair holds the first draw against its expectation with a χ² test at p = 0.001.
func TestDrawIsFair(t *testing.T) {
	powers := []uint64{10, 20, 30, 40}
	var seen [4]float64
	const n = 20_000
	for i := range n {
		s := NewStream(types.Sum([]byte{byte(i), byte(i >> 8)}), "fair")
		drawn, err := Draw(s, powers, 1)
		if err != nil {
			t.Fatal(err)
		}
		seen[drawn[0]]++
	}
	var chi2 float64
	for i, p := range powers {
		want := float64(n) * float64(p) / 100
		chi2 += (seen[i] - want) * (seen[i] - want) / want
	}
	if chi2 > 16.27 { // 3 degrees of freedom
		t.Errorf("χ² = %.1f for %v", chi2, seen)
	}
}

func TestDraw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		powers := rapid.SliceOfN(rapid.Uint64Range(0, 1<<40), 0, 12).Draw(t, "powers")
		count := rapid.IntRange(0, 8).Draw(t, "count")
		drawn, err := Draw(NewStream(types.Sum([]byte(rapid.String().Draw(t, "seed"))), "draw"), powers, count)
		if err != nil {
			t.Fatal(err)
		}
		live := 0
		for _, p := range powers {
			if p > 0 {
				live++
			}
		}
		if live == 0 {
			if drawn != nil {
				t.Fatal("drawn from nobody")
			}
			return
		}
		if len(drawn) != count {
			t.Fatalf("%d drawn, want %d", len(drawn), count)
		}
		for from := 0; from < len(drawn); from += live { // each once before anyone twice
			seen := map[int]bool{}
			for _, i := range drawn[from:min(from+live, len(drawn))] {
				if powers[i] == 0 || seen[i] {
					t.Fatalf("drawn %v of %v", drawn, powers)
				}
				seen[i] = true
			}
		}
	})
	if _, err := Draw(NewStream(types.Hash{}, ""), []uint64{1 << 63, 1 << 63}, 1); err == nil {
		t.Error("a sum beyond 64 bits is accepted")
	}
}
