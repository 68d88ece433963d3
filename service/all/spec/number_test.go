package spec

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/service/storage"
)

// TestNumbers holds sentences of docs/spec against the constants that they speak of: each %s is one, with its
// thousands set apart by commas.
func TestNumbers(t *testing.T) {
	const signature = 512 // what encodings of asks and orders may have beside their longest part
	for _, c := range []struct {
		page, sentence string
		values         []uint64
	}{
		{"evidence.md", "the kind's own CBOR, at most %s bytes", []uint64{evidence.MaxBody}},
		{"evidence.md", "The whole envelope is at most %s bytes.", []uint64{evidence.MaxEnvelope}},
		{"evidence.md", "the chain's id, at most %s bytes", []uint64{evidence.MaxChain}},
		{"evidence.md", "At most %s blocks below the newest block", []uint64{evidence.MaxAnchorAge}},
		{"evidence.md", "%s receipts, %s orders, %s asks", []uint64{tally.MaxReceipts, tally.MaxNewOrder, tally.MaxAsks}},
		{"receipt.md", "type `ask`, at most %s bytes", []uint64{receipt.MaxTerms + signature}},
		{"receipt.md", "the category's own CBOR, at most %s bytes", []uint64{receipt.MaxTerms}},
		{"receipt.md", "over the same inner array, at most %s bytes", []uint64{receipt.MaxSigned}},
		{"receipt.md", "if it expires more than %s epochs ahead", []uint64{receipt.MaxExpiry}},
		{"receipt.md", "at most %s live orders", []uint64{receipt.MaxOrders}},
		{"receipt.md", "(beyond %s of a device in a category)", []uint64{tally.MaxReceipts}},
		{"agreement.md", "encoding (at most %s bytes)", []uint64{bus.MaxHeader}},
		{"bus.md", "(≤ %s items)", []uint64{bus.MaxItems}},
		{"bus.md", "offset (a multiple of %s)", []uint64{bus.ChunkSize}},
		{"bus.md", "a gateway | %s MiB |", []uint64{bus.MaxKeptBytes >> 20}},
		{"bus.md", "and %s messages each.", []uint64{bus.MaxKept}},
		{"bus.md", "keeps its last message, at most %s KiB", []uint64{bus.MaxLast >> 10}},
		{"economics.md", "Below %s a quote warns; below %s the day's", []uint64{econ.BackingWarn, econ.BackingRation}},
		{"economics.md", "max(⌊ΣA / 14⌋, %s) credits", []uint64{uint64(econ.RationFloor)}},
		{"economics.md", "Above %s, once a day", []uint64{econ.BackingExcess}},
		{"economics.md", "bond · %s / bond_epochs", []uint64{econ.PenaltyEpochs}},
		{"economics.md", "since it last rested for %s epochs", []uint64{econ.StepEpochs}},
		{"economics.md", "takes effect %s epochs after it was announced", []uint64{econ.TimelockSilent}},
		{"README.md", "%s epochs count as a day and %s as a year", []uint64{econ.EpochsPerDay, econ.EpochsPerYear}},
		{"README.md", "%s wireless, %s compute, %s storage", []uint64{1, 2, uint64(storage.New().Spec.Category)}},
	} {
		raw, err := os.ReadFile("../../../docs/spec/" + c.page)
		if err != nil {
			t.Fatal(err)
		}
		var args []any
		for _, v := range c.values {
			args = append(args, commas(v))
		}
		want := fmt.Sprintf(c.sentence, args...)
		if !strings.Contains(strings.ReplaceAll(string(raw), "\n", " "), want) {
			t.Errorf("docs/spec/%s does not say %q", c.page, want)
		}
	}
}

// commas writes n with its thousands set apart.
func commas(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
