package compute

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Rules are the category's governed parameters (tally.Params.Rules).
type Rules struct {
	_ struct{} `cbor:",toarray"`
	// Rarity is one slot in how many fires, at least 2: 2,160 is every six hours on average.
	Rarity uint64
	Models []Hardware // ascending by model, at most MaxModels; the first is of model 0
}

// MaxModels bounds the hardware that rules know.
const MaxModels = 512

// Hardware is what the rules know of a registered model of device (tally.Device.Model).
type Hardware struct {
	_     struct{} `cbor:",toarray"`
	Model uint64   // 0 is every model that has no line of its own
	Round Round
	N     uint32 // order of the matrices of a MAC round, a power of two from 512 to 8192; 0 for CPU
	Slots uint16 // that it has, at least 1
}

// valid reports whether hardware has a round of an order that there is, and slots.
func (h *Hardware) valid() bool {
	order := h.Round == CPU && h.N == 0 || h.Round == MAC && h.N >= 512 && h.N <= 8192 && h.N&(h.N-1) == 0
	return order && h.Slots > 0
}

// DefaultRules are those of a network that set none: processors of at most 256 slots, checked every six hours.
func DefaultRules() *Rules {
	return &Rules{Rarity: 2160, Models: []Hardware{{Round: CPU, Slots: 256}}}
}

// LocalRules are those of a network on one machine, whose epochs are short: every other slot fires.
func LocalRules() *Rules {
	r := DefaultRules()
	r.Rarity = 2
	return r
}

// Encode returns the encoding of r.
func (r *Rules) Encode() []byte { return types.Encode(r) }

// DecodeRules reads rules and checks them.
func DecodeRules(raw []byte) (*Rules, error) {
	r := new(Rules)
	if err := types.DecodeLimit(raw, r, tally.MaxRules); err != nil {
		return nil, fmt.Errorf("compute: rules: %w", err)
	}
	if r.Rarity < 2 || len(r.Models) == 0 || len(r.Models) > MaxModels || r.Models[0].Model != 0 {
		return nil, types.Refuse(types.ParamBound, "compute: rules: rarity %d, %d models of which the first must be 0", r.Rarity, len(r.Models))
	}
	for i, h := range r.Models {
		if i > 0 && h.Model <= r.Models[i-1].Model || !h.valid() {
			return nil, types.Refuse(types.ParamBound, "compute: rules: model %d: round %d of order %d, %d slots", h.Model, h.Round, h.N, h.Slots)
		}
	}
	return r, nil
}

// Hardware returns what the rules know of a registered model.
func (r *Rules) Hardware(model uint64) Hardware {
	i, found := slices.BinarySearchFunc(r.Models, model, func(h Hardware, m uint64) int { return cmp.Compare(h.Model, m) })
	if !found {
		i = 0
	}
	return r.Models[i]
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
