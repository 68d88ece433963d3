package wireless

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Rules are the category's governed parameters (tally.Params.Rules).
type Rules struct {
	_       struct{}    `cbor:",toarray"`
	Test    pob.Rules   // of bandwidth checks
	Seconds uint32      // that an epoch takes
	Claim   uint64      // bit/s that a device may claim at most: what the uplinks of verifiers are enough for
	Prefix  uint64      // bit/s that the claims of one prefix add up to in a test, at least Claim
	Issuers []types.Key // of grants, ascending, at most MaxIssuers
}

// Bounds of rules.
const (
	MaxIssuers = 64
	maxSeconds = 86_400
	maxPrefix  = 1_000_000_000_000
)

// DefaultRules are those of a network that set none: epochs of an hour. Four challengers, the fewest that test
// anything, send five twelfths of what a prefix claims each: 1 Gbit/s, of which a witness lends as much by default.
func DefaultRules() *Rules {
	return &Rules{Test: pob.DefaultRules(), Seconds: 3600, Claim: 1_000_000_000, Prefix: 2_400_000_000}
}

// LocalRules are those of a network on one machine, whose epochs take some seconds and whose devices share its processors.
func LocalRules() *Rules {
	return &Rules{Test: pob.LocalRules(), Seconds: 8, Claim: 100_000_000, Prefix: 100_000_000}
}

// Encode returns the encoding of r.
func (r *Rules) Encode() []byte { return types.Encode(r) }

// DecodeRules reads rules and checks them.
func DecodeRules(raw []byte) (*Rules, error) {
	r := new(Rules)
	if err := types.DecodeLimit(raw, r, tally.MaxRules); err != nil {
		return nil, fmt.Errorf("wireless: rules: %w", err)
	}
	if err := r.Test.Check(); err != nil {
		return nil, err
	}
	ascending := true
	for i := 1; i < len(r.Issuers); i++ {
		ascending = ascending && bytes.Compare(r.Issuers[i-1][:], r.Issuers[i][:]) < 0
	}
	if r.Seconds < 1 || r.Seconds > maxSeconds || r.Claim < pob.MinClaim || r.Claim > pob.MaxClaim ||
		r.Prefix < r.Claim || r.Prefix > maxPrefix || len(r.Issuers) > MaxIssuers || !ascending {
		return nil, types.Refuse(types.ParamBound, "wireless: rules: epochs of %d s, claims to %d and %d bit/s, %d issuers, ascending: %t",
			r.Seconds, r.Claim, r.Prefix, len(r.Issuers), ascending)
	}
	return r, nil
}

// RulesIn returns the rules in force, and the defaults for what cannot be read.
func RulesIn(raw []byte) *Rules {
	if r, err := DecodeRules(raw); err == nil {
		return r
	}
	return DefaultRules()
}

// CheckRules says what is wrong with rules that somebody wants to put in force; empty ones are the defaults.
func CheckRules(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	_, err := DecodeRules(raw)
	return err
}

// issuer reports whether grants of a key count.
func (r *Rules) issuer(k types.Key) bool { return slices.Contains(r.Issuers, k) }
