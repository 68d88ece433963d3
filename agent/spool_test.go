package agent

import (
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestSpoolIsBounded: what does not fit is refused, what waits stays, and there is room again once enough
// verifiers keep it.
func TestSpoolIsBounded(t *testing.T) {
	s, err := OpenSpool(filepath.Join(t.TempDir(), "spool.db"), bustest.Key(1), chain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	say := func(n int) error {
		_, err := s.Evidence(evidence.Payload{Category: 3, Kind: 1, Epoch: 1, Body: make([]byte, n)})
		return err
	}
	if err := say(evidence.MaxBody + 1); types.ReasonOf(err) != types.Oversize {
		t.Errorf("a body that is too long: %v", err)
	}
	s.most = 1000
	if err := say(900); err != nil {
		t.Fatal(err)
	}
	if err := say(900); types.ReasonOf(err) != types.OverQuota || s.Seq() != 1 {
		t.Errorf("more than fits: %v, number %d", err, s.Seq())
	}
	given, err := s.Expire(1 + KeepEpochs)
	if err != nil || len(given) != 0 {
		t.Errorf("given up in its last epoch: %v, %v", given, err)
	}
	if given, err = s.Expire(2 + KeepEpochs); err != nil || len(given) != 1 || given[0].Reason != types.WrongEpoch {
		t.Errorf("after it: %v, %v", given, err)
	}
	if err := say(900); err != nil || s.Seq() != 2 {
		t.Errorf("once there is room: %v, number %d", err, s.Seq())
	}
}
