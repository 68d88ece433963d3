package bus

import (
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of a Notice.
const (
	MaxBlocks     = 32
	MaxMembers    = 1024
	MaxCategories = 64
)

// Notice is what a device and a gateway see of the chain, as of the block at Height. Every field follows from
// the chain at that block and from final or accepted headers, so honest verifiers sign the same bytes.
//
// A verifier publishes one for the first block of an epoch, for the block at which the epoch's seed became
// known, and for each block whose distance from the epoch's first is a multiple of NoticeEvery.
type Notice struct {
	_          struct{} `cbor:",toarray"`
	Chain      string
	Region     types.Region
	Epoch      types.Epoch
	Height     uint64
	Hash       types.Hash
	Time       uint64            // Unix seconds of the block
	Blocks     []tally.BlockHash // recent ones, ascending, the newest last
	First, Cut uint64            // the epoch's first and last block
	EpochTime  uint64            // Unix seconds of the epoch's first block
	Seed       types.Hash        // seed(Epoch); zero while it is unknown
	Challenged bool              // whether challenges of this epoch bind
	Final      Root              // the region's newest final header
	Tallied    Root              // the region's newest accepted header
	Totals     []Totals          // as of Tallied, ascending by category
	Params     []tally.Params    // ascending by category, as of the epoch's start; without Rules
	Rules      []Rules           // what those have as Rules, ascending by category; only those that are not empty
	MinOpening types.Credit
	Set        Set // whose signatures count in this epoch
}

// Root is what a notice says of a header, enough to check a proof against it. Its zero value stands for none.
type Root struct {
	_       struct{} `cbor:",toarray"`
	Epoch   types.Epoch
	Header  types.Hash
	Devices merkle.Node
	Count   uint64 // leaves of the devices tree
}

// Totals are a category's sums over the region (tally.Output.Totals).
type Totals struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Sums     []uint64 // at most 8
}

// Rules names a category's own rules (tally.Params.Rules). They travel by hash (FetchBlob), as they change seldom.
type Rules struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Blob     Blob
}

// RulesOf takes the categories' own rules out of params: what a notice says of both.
func RulesOf(params []tally.Params) ([]tally.Params, []Rules) {
	bare := slices.Clone(params)
	var rules []Rules
	for i := range bare {
		if p := &bare[i]; len(p.Rules) > 0 {
			rules = append(rules, Rules{Category: p.Category, Blob: BlobOf(p.Rules)})
			p.Rules = nil
		}
	}
	return bare, rules
}

// NoticeEvery is how many blocks lie between notices, in an epoch of n blocks.
func NoticeEvery(n uint64) uint64 { return max(1, n/20) }

func (n *Notice) domain() string  { return "notice" }
func (n *Notice) chainID() string { return n.Chain }

func (n *Notice) check() error {
	switch {
	case len(n.Blocks) > MaxBlocks:
		return tooMany("blocks", len(n.Blocks), MaxBlocks)
	case len(n.Totals) > MaxCategories:
		return tooMany("totals", len(n.Totals), MaxCategories)
	case len(n.Params) > MaxCategories:
		return tooMany("parameters", len(n.Params), MaxCategories)
	case len(n.Rules) > MaxCategories:
		return tooMany("rules", len(n.Rules), MaxCategories)
	}
	for i := range n.Params {
		if len(n.Params[i].Rules) > 0 {
			return types.Refuse(types.BadEncoding, "parameters carry rules, which travel by hash")
		}
	}
	for i, r := range n.Rules {
		if r.Blob.Size == 0 || r.Blob.Size > tally.MaxRules {
			return tooMany("bytes of rules", int(r.Blob.Size), tally.MaxRules)
		}
		if i > 0 && r.Category <= n.Rules[i-1].Category {
			return misplaced("rules")
		}
	}
	for i, t := range n.Totals {
		if len(t.Sums) > 8 {
			return tooMany("sums", len(t.Sums), 8)
		}
		if i > 0 && t.Category <= n.Totals[i-1].Category {
			return misplaced("totals")
		}
	}
	return n.Set.Check()
}

// Member is a verifier and what its signature counts.
type Member struct {
	_     struct{}  `cbor:",toarray" json:"-"`
	Key   types.Key `json:"key"`
	Power uint64    `json:"power"`
}

// Set is whose signatures count in an epoch: ascending by key, at most MaxMembers, with a total that fits 64 bits.
type Set []Member

// SetOf returns the set of attesters, which are ascending by key.
func SetOf(attesters []tally.Attester) Set {
	set := make(Set, len(attesters))
	for i, a := range attesters {
		set[i] = Member{Key: a.Key, Power: a.Power}
	}
	return set
}

// Check refuses a set that is out of bounds or out of order.
func (s Set) Check() error {
	if len(s) > MaxMembers {
		return tooMany("verifiers", len(s), MaxMembers)
	}
	var total, carry uint64
	for i := range s {
		if i > 0 && slices.Compare(s[i-1].Key[:], s[i].Key[:]) >= 0 {
			return misplaced("verifiers")
		}
		if total, carry = bits.Add64(total, s[i].Power, 0); carry != 0 {
			return types.Refuse(types.BadEncoding, "the sum of powers leaves 64 bits")
		}
	}
	return nil
}

// Total is the sum of powers.
func (s Set) Total() uint64 {
	var total uint64
	for _, m := range s {
		total += m.Power
	}
	return total
}

// Power is what key's signature counts, 0 if it is no member.
func (s Set) Power(key types.Key) uint64 {
	i, ok := slices.BinarySearchFunc(s, key, func(m Member, k types.Key) int { return slices.Compare(m.Key[:], k[:]) })
	if !ok {
		return 0
	}
	return s[i].Power
}

// Enough reports whether power is more than two thirds of the total.
func (s Set) Enough(power uint64) bool { return TwoThirds(power, s.Total()) }

// TwoThirds reports whether power is more than two thirds of total.
func TwoThirds(power, total uint64) bool {
	ph, pl := bits.Mul64(power, 3)
	th, tl := bits.Mul64(total, 2)
	return ph > th || ph == th && pl > tl
}
