package storage

import (
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

func TestDraws(t *testing.T) {
	for devices, want := range map[uint64]int{0: 20, 1: 20, 1398: 20, 1399: 19, 2000: 13, 13981: 2, 13980: 2, 9320: 3, 1 << 40: 2} {
		if got := Draws([]uint64{devices}); got != want {
			t.Errorf("%d devices: %d draws, want %d", devices, got, want)
		}
	}
	if got := Draws(nil); got != 20 {
		t.Errorf("no totals yet: %d draws", got)
	}
}

// TestPositionEqualsBig: the first 128 bits of the digest, mod the total.
func TestPositionEqualsBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := types.Sum(rapid.SliceOf(rapid.Byte()).Draw(t, "seed"))
		j := rapid.Uint32().Draw(t, "j")
		total := rapid.OneOf(rapid.Uint64Range(1, 100), rapid.Uint64Min(1)).Draw(t, "total")
		h := types.Sum(d[:], binary.BigEndian.AppendUint32(nil, j))
		want := new(big.Int).Mod(new(big.Int).SetBytes(h[:16]), new(big.Int).SetUint64(total)).Uint64()
		if got := Position(d, j, total); got != want {
			t.Fatalf("position %d, want %d", got, want)
		}
	})
}

// TestOnePercent: at 20 draws a device that dropped one byte in a hundred is caught within a day, 99 times in
// 100. Seeded, so it is one experiment, repeatable; what it must show is 1 − 0.99^480 = 99.2 %.
func TestOnePercent(t *testing.T) {
	const devices, epochs, shards, size = 4000, 24, 10000, 1 << 20
	device := key("dropper").Public()
	caught, failures := 0, 0
	for n := range devices {
		rng := rand.New(rand.NewPCG(7, uint64(n)))
		gone := make([]bool, shards)
		for _, i := range rng.Perm(shards)[:shards/100] {
			gone[i] = true
		}
		first := true
		for range epochs {
			var seed types.Hash
			binary.BigEndian.PutUint64(seed[:], rng.Uint64())
			d, failed := Challenge(seed, device), false
			for j := range uint32(MaxDraws) {
				failed = failed || gone[Position(d, j, shards*size)/size]
			}
			if failed {
				failures++
				if first {
					caught++
				}
				first = false
			}
		}
	}
	if caught < devices*99/100 {
		t.Errorf("%d of %d caught within a day", caught, devices)
	}
	// Per epoch: 1 − 0.99^20 = 18.2 %.
	if rate := 1000 * failures / (devices * epochs); rate < 177 || rate > 187 {
		t.Errorf("caught in %d‰ of the epochs, want 182", rate)
	}
	t.Logf("1%% dropped: %.2f%% caught within 24 epochs, %.1f%% within one", 100*float64(caught)/devices, 100*float64(failures)/devices/epochs)
}
