package refusal

import (
	"errors"
	"testing"

	errorsmod "cosmossdk.io/errors"

	"github.com/cairn-network/cairn/core/types"
)

// TestRoundTrip takes every reason through a transaction's result, as the SDK makes one.
func TestRoundTrip(t *testing.T) {
	codes := map[uint32]types.Reason{}
	for _, info := range types.Reasons() {
		err := errorsmod.Wrapf(Wrap(types.Refuse(info.Reason, "buy: 5 is too little")), "failed to execute message; message index: %d", 0)
		codespace, code, log := errorsmod.ABCIInfo(err, false)
		if codespace != Codespace || code != Code(info.Reason) || Parse(log) != info.Reason {
			t.Errorf("%s came back as %s %d %q", info.Reason, codespace, code, log)
		}
		if other := codes[code]; other != "" {
			t.Errorf("%s and %s share a code", info.Reason, other)
		}
		codes[code] = info.Reason
		if !errors.Is(err, info.Reason) {
			t.Errorf("%s is lost in %v", info.Reason, err)
		}
	}
	plain := errors.New("disk on fire")
	if Wrap(plain) != plain || Wrap(nil) != nil {
		t.Error("an error without a reason was changed")
	}
	if r := Parse("out of gas"); r != "" {
		t.Errorf("Parse found %q in a log without a reason", r)
	}
}
