package network

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
)

// ruled is a category that checks its rules.
func ruled(check error) service.Verifier {
	v := servicetest.Meter()
	v.CheckRules = func([]byte) error { return check }
	return v
}

func TestLocalRules(t *testing.T) {
	n := &Network{cfg: Config{EpochBlocks: 20, BlockTime: 400 * time.Millisecond, Rules: []service.Verifier{servicetest.Meter()}}}
	n.layout.Created = time.Unix(1_800_000_000, 999)
	if rules, err := n.localRules(); err != nil || len(rules) != 0 {
		t.Errorf("a category without local rules has %q, %v", rules, err)
	}
	n.cfg.Rules = []service.Verifier{ruled(nil)}
	n.cfg.Simulators = []role.Simulator{{Category: types.Storage}, {
		Category: servicetest.MeterCategory, Rules: func(start, epoch uint64) []byte { return fmt.Appendf(nil, "%d %d", start, epoch) },
	}}
	rules, err := n.localRules()
	if want := []byte("1800000000 8000"); err != nil || len(rules) != 1 || !bytes.Equal(rules[servicetest.MeterCategory], want) {
		t.Errorf("rules %q, %v, want %q", rules, err, want)
	}
	n.cfg.Rules = []service.Verifier{ruled(types.BadEncoding)}
	if _, err := n.localRules(); !errors.Is(err, types.BadEncoding) {
		t.Errorf("broken rules begin a network: %v", err)
	}
}
