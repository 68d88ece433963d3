package verifier

import (
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// BatchSize is how many signatures are checked at once: beyond it a batch gains little.
const BatchSize = 1024

// splitBelow is the size from which a failed batch is checked one by one: halving it further costs more than it
// saves.
const splitBelow = 16

// CheckSignatures reports which of the signatures hold (ZIP-215), checking up to BatchSize at once. A batch
// that fails is halved until the wrong ones are found, so a few wrong signatures cost little more than none.
func CheckSignatures(sigs []tally.Signed) []bool {
	ok := make([]bool, len(sigs))
	for from := 0; from < len(sigs); from += BatchSize {
		to := min(from+BatchSize, len(sigs))
		checkBatch(sigs[from:to], ok[from:to])
	}
	return ok
}

func checkBatch(sigs []tally.Signed, ok []bool) {
	if len(sigs) < splitBelow {
		for i := range sigs {
			ok[i] = sigs[i].Key.VerifyMessage(sigs[i].Message, sigs[i].Sig)
		}
		return
	}
	v := ed25519.NewBatchVerifierWithCapacity(len(sigs))
	if len(sigs) >= splitBelow*4 {
		v.ForceNoPublicKeyExpansion() // only worth its memory for checking one by one, which is done below
	}
	for i := range sigs {
		v.AddWithOptions(sigs[i].Key[:], sigs[i].Message, sigs[i].Sig[:], types.VerifyOptions)
	}
	if v.VerifyBatchOnly(nil) {
		for i := range ok {
			ok[i] = true
		}
		return
	}
	half := len(sigs) / 2
	checkBatch(sigs[:half], ok[:half])
	checkBatch(sigs[half:], ok[half:])
}

// checkAll reports which items hold: all signatures of an item must.
func checkAll(items []*item) []bool {
	sigs := make([]tally.Signed, 0, len(items))
	for _, it := range items {
		sigs = append(sigs, it.sigs...)
	}
	verdicts := CheckSignatures(sigs)
	ok := make([]bool, len(items))
	at := 0
	for i, it := range items {
		ok[i] = true
		for range it.sigs {
			ok[i] = ok[i] && verdicts[at]
			at++
		}
	}
	return ok
}
