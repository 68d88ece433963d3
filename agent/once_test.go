package agent

import (
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestOnce: what has a name is stored once, also by a process that was killed in between; what could not be
// stored has not taken its name; names go some epochs later.
func TestOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.db")
	s, err := OpenSpool(path, bustest.Key(1), chain)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	name, other := types.Hash{1}, types.Hash{2}
	say := func(e types.Epoch, name types.Hash, n int) (bool, error) {
		return s.EvidenceOnce(evidence.Payload{Category: 3, Kind: 1, Epoch: e, Body: make([]byte, n)}, name)
	}
	if stored, err := say(5, name, 10); !stored || err != nil {
		t.Fatal(stored, err)
	}
	if stored, err := say(5, other, evidence.MaxBody+1); stored || types.ReasonOf(err) != types.Oversize {
		t.Errorf("%v, %v", stored, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenSpool(path, bustest.Key(1), chain); err != nil {
		t.Fatal(err)
	}
	if stored, err := say(5, name, 10); stored || err != nil || s.Seq() != 1 {
		t.Errorf("again: %v, %v, number %d", stored, err, s.Seq())
	}
	if stored, err := say(5, other, 10); !stored || err != nil || s.Seq() != 2 {
		t.Errorf("what was refused before: %v, %v, number %d", stored, err, s.Seq())
	}
	for e := types.Epoch(5); e <= 6+onceEpochs; e++ {
		if _, err := s.Expire(e); err != nil {
			t.Fatal(err)
		}
		if known, err := s.Named(name); known != (e <= 5+onceEpochs) || err != nil {
			t.Errorf("in epoch %d: %v, %v", e, known, err)
		}
	}
}
