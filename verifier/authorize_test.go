package verifier

import (
	"context"
	"errors"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// told is a chain in epoch 7 that says of any key what a test has it say.
type told struct {
	ledger.Reader
	opening   types.Credit
	device    *ledger.Device
	grant     *ledger.Grant
	bought    types.Credit    // in region 3
	elsewhere types.Credit    // bought in another
	pending   *tally.Attester // named, and of no epoch yet
	fails     string          // the question that it can't answer
}

var errAway = errors.New("the chain is away")

func answer[T any](l told, what string, v *T) (*T, error) {
	switch {
	case l.fails == what:
		return nil, errAway
	case v == nil:
		return nil, ledger.ErrNotFound
	}
	return v, nil
}

func (l told) Head(context.Context) (ledger.Block, error) { return ledger.Block{Epoch: 7}, nil }
func (l told) Epoch(context.Context, types.Epoch) (*ledger.Epoch, error) {
	return &ledger.Epoch{Epoch: 7, MinOpening: l.opening}, nil
}
func (l told) Device(context.Context, types.Key) (*ledger.Device, error) {
	return answer(l, "device", l.device)
}
func (l told) Grant(context.Context, types.Key) (*ledger.Grant, error) {
	return answer(l, "grant", l.grant)
}
func (l told) Verifier(context.Context, types.Key) (*tally.Attester, error) {
	return answer(l, "verifier", l.pending)
}
func (l told) Account(context.Context, types.Account) (*ledger.Account, error) {
	var a *ledger.Account
	if l.bought > 0 {
		a = &ledger.Account{Bought: l.bought + l.elsewhere, Holdings: []ledger.Holding{{Region: 1, Bought: l.elsewhere}, {Region: 3, Bought: l.bought}}}
	}
	return answer(l, "account", a)
}

// TestAuthorizerBounds: what a key may keep follows from the bond, the credits and the limit behind it, to the
// unit, and a question that the chain can't answer is no answer.
func TestAuthorizerBounds(t *testing.T) {
	owner := types.Account{1}
	grant := func(limit types.Credit, expiry types.Epoch) *ledger.Grant {
		return &ledger.Grant{Grant: tally.Grant{Account: owner, Limit: limit, Expiry: expiry}, Region: 3}
	}
	payer := func(own, keep int) bus.Pass {
		return bus.Pass{Role: bus.RolePayer, Account: owner, Own: own * bus.KeptPerCredit, Keep: keep * bus.KeptPerCredit}
	}
	const most = bus.MaxKeptBytes / bus.KeptPerCredit
	for _, c := range []struct {
		what  string
		chain told
		want  bus.Pass
	}{
		{"a device with the least bond", told{device: &ledger.Device{Device: tally.Device{Owner: owner, Bond: 1}}}, bus.Full(bus.RoleDevice)},
		{"a device without a bond", told{device: &ledger.Device{Device: tally.Device{Owner: owner}}},
			bus.Pass{Role: bus.RoleDevice, Account: owner, Own: bus.DeviceKept, Keep: bus.DeviceKept}},
		{"a payer in its last epoch", told{opening: 10, grant: grant(30, 7), bought: 59}, payer(3, 5)},
		{"a payer after it", told{opening: 10, grant: grant(30, 6), bought: 50}, bus.Pass{}},
		{"a limit above what was bought", told{opening: 10, grant: grant(1000, 9), bought: 50}, payer(5, 5)},
		{"nothing bought", told{opening: 10, grant: grant(1000, 9)}, payer(0, 0)},
		{"more bought than there is room for", told{opening: 10, grant: grant(1<<60, 9), bought: 1 << 60}, payer(most, most)},
		{"more bought in a region where it is not granted", told{opening: 10, grant: grant(1000, 9), bought: 50, elsewhere: 70}, payer(5, 12)},
		{"no least opening amount", told{grant: grant(2, 9), bought: 3}, payer(2, 3)},
		{"a bonded validator's key before it counts", told{pending: &tally.Attester{Owner: owner, Power: 1}}, bus.Pass{Role: bus.RolePending}},
		{"that of a validator without bonded stake, or jailed", told{pending: &tally.Attester{Owner: owner}}, bus.Pass{}},
		{"nobody", told{}, bus.Pass{}},
	} {
		if got, err := NewAuthorizer(c.chain).Authorize(t.Context(), types.Key{2}); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.what, got, err, c.want)
		}
	}
	for _, what := range []string{"device", "grant", "account", "verifier"} {
		chain := told{opening: 10, grant: grant(30, 9), bought: 50, fails: what}
		if what == "verifier" {
			chain.grant = nil
		}
		if got, err := NewAuthorizer(chain).Authorize(t.Context(), types.Key{2}); !errors.Is(err, errAway) || got != (bus.Pass{}) {
			t.Errorf("the chain does not say what %s it has: %+v, %v", what, got, err)
		}
	}
}
