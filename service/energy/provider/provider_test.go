package provider

import (
	"testing"

	"github.com/cairn-network/cairn/service/energy"
)

// TestCounts: what flows is stamped, handed in in one envelope an epoch, and counted; the site and the owner's
// prices are in the line.
func TestCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(5)
		s := b.line()
		if s.Site.PDC != 5000 || s.Site.Grid.IsZero() || s.Site.PV.IsZero() {
			t.Fatalf("site %+v", s.Site)
		}
		// The last epoch's batch holds what was over at its start.
		if want := b.now() - 5; s.K < want-1 {
			t.Errorf("the last record that counts is of %d, now is %d", s.K, b.now())
		}
		for class, price := range map[int]uint16{0: 120, 1: 30} {
			if s.Asks[class].Price != price || s.Asks[class].Until == 0 {
				t.Errorf("class %d: %+v", class+1, s.Asks[class])
			}
		}
		if list := b.refusals(); len(list) > 0 {
			t.Errorf("refused: %v", list)
		}
		if s.Sums.Exported == 0 || s.Sums.Withheld() > 0 && s.Sums.Gap > 0 {
			t.Errorf("sums %+v", s.Sums)
		}
		if s.Wh[energy.Export] == 0 || s.Sums.Exported != s.Wh[energy.Export]-firstExport(t, b) {
			t.Errorf("exported %d, register at %d", s.Sums.Exported, s.Wh[energy.Export])
		}
	})
}

// firstExport is the export register of the first record on the home's disk.
func firstExport(t *testing.T, b *bench) uint64 {
	t.Helper()
	if err := b.device.Stop(); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(b.device.Dir() + "/journal.db")
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	list, err := j.after(0)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d records: %v", len(list), err)
	}
	return list[0].Record.Wh[energy.Export]
}
