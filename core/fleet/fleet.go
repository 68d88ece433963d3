package fleet

import (
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of a fleet.
const (
	MaxCount      = 1 << 20 // things: a path has at most 20 siblings, of 32 bytes each
	MaxAttributes = 256     // bytes of one thing's
	MaxConsent    = 8_760   // epochs for which a thing agrees at most: a year
)

// Fleet is what the registry says of the things behind a device. The zero value is no fleet.
type Fleet struct {
	_     struct{} `cbor:",toarray"`
	Root  types.Hash
	Count uint64 // at most MaxCount; 0 with a zero root alone
}

// None reports whether there is no fleet.
func (f *Fleet) None() bool { return f.Count == 0 }

// Bound says what is wrong with a fleet: more things than MaxCount, or a root of none.
func Bound(f *Fleet) error {
	switch {
	case f.Count > MaxCount:
		return types.Refuse(types.Oversize, "fleet of %d things, at most %d are taken", f.Count, MaxCount)
	case f.Count == 0 && !f.Root.IsZero():
		return types.Refuse(types.BadEncoding, "fleet of no things has a root")
	}
	return nil
}

// Thing is something with a key of its own behind a device.
type Thing struct {
	_   struct{} `cbor:",toarray"`
	Key types.Key
	// Attributes are what the fleet says of the thing, in the category's own CBOR: at most MaxAttributes.
	Attributes []byte
}

// leaf returns what stands for the thing in the tree: SHA-256("cairn/thing" ‖ the thing's encoding).
func (t *Thing) leaf() types.Hash { return types.Sum([]byte("cairn/thing"), types.Encode(t)) }

// consent is what a thing signs, in the domain "consent".
type consent struct {
	_          struct{} `cbor:",toarray"`
	Device     types.Key
	Attributes []byte
	Until      types.Epoch
}

// ConsentBytes is what a thing signs, in the domain "consent", to be behind a device up to and including an epoch.
func (t *Thing) ConsentBytes(device types.Key, until types.Epoch) []byte {
	return types.Encode(&consent{Device: device, Attributes: t.Attributes, Until: until})
}

// Member is a thing as evidence shows it. Its count and root are the registry's.
type Member struct {
	_        struct{} `cbor:",toarray"`
	Thing    Thing
	Until    types.Epoch     // the last epoch in which the consent holds
	Consent  types.Signature // by the thing, of ConsentBytes
	Index    uint64
	Siblings []types.Hash // from the leaf upwards
}

// Agree gives m the consent of its thing to be behind a device of chain.
func (m *Member) Agree(thing types.PrivateKey, chain string, device types.Key, until types.Epoch) {
	m.Until, m.Consent = until, thing.Sign("consent", chain, m.Thing.ConsentBytes(device, until))
}

// Roster is a fleet with its things, for who sets it and who shows them. It never changes.
type Roster struct {
	things []Thing
	tree   *merkle.Tree
}

// NewRoster makes a fleet of things, in their order. Two of one key, or what breaks the bounds, are refused.
func NewRoster(things []Thing) (*Roster, error) {
	if len(things) > MaxCount {
		return nil, types.Refuse(types.Oversize, "%d things, at most %d are taken", len(things), MaxCount)
	}
	at := make(map[types.Key]int, len(things))
	leaves := make([]types.Hash, len(things))
	for i := range things {
		t := &things[i]
		if before, twice := at[t.Key]; twice {
			return nil, types.Refuse(types.ThingTwice, "things %d and %d have one key, %v", before, i, t.Key)
		}
		if len(t.Attributes) > MaxAttributes {
			return nil, types.Refuse(types.Oversize, "thing %d: attributes of %d bytes, at most %d are taken",
				i, len(t.Attributes), MaxAttributes)
		}
		at[t.Key], leaves[i] = i, t.leaf()
	}
	return &Roster{things: things, tree: merkle.NewTree(leaves)}, nil
}

// Fleet returns what the registry has to say of the roster.
func (r *Roster) Fleet() Fleet {
	if len(r.things) == 0 {
		return Fleet{}
	}
	return Fleet{Root: r.tree.Root(), Count: uint64(len(r.things))}
}

// Member returns thing i without its consent. It panics if there is no such thing, as an index expression would.
func (r *Roster) Member(i int) *Member {
	p := r.tree.Proof(i)
	return &Member{Thing: r.things[i], Index: p.Index, Siblings: p.Siblings}
}

// Roll is which of a device's things are shown in one epoch. Verify makes one for each device, and asks it about
// every thing that evidence shows.
type Roll struct {
	chain  string
	device types.Key
	fleet  Fleet
	epoch  types.Epoch
	seen   map[types.Key]shown
}

// shown is what a thing was shown with.
type shown struct {
	index uint64
	all   types.Hash // of the whole member
}

// NewRoll returns the roll of a device of chain that has a fleet in the epoch's registry view.
func NewRoll(chain string, device types.Key, f Fleet, e types.Epoch) *Roll {
	return &Roll{chain: chain, device: device, fleet: f, epoch: e, seen: map[types.Key]shown{}}
}

// Admit returns nil if m is a thing of the device's fleet that agreed to be. All else is refused with a reason:
// types.NoFleet, types.NotInFleet, types.ConsentEnded, types.NoConsent, and types.ThingTwice for one that was shown
// before at another place. Shown the same again, it costs no second signature check.
func (r *Roll) Admit(m *Member) error {
	key := &m.Thing.Key
	if r.fleet.None() {
		return types.Refuse(types.NoFleet, "thing %v", key)
	}
	if len(m.Thing.Attributes) > MaxAttributes {
		return types.Refuse(types.Oversize, "thing %v: attributes of %d bytes", key, len(m.Thing.Attributes))
	}
	p := merkle.Proof{Index: m.Index, Count: r.fleet.Count, Siblings: m.Siblings}
	if err := p.Verify(r.fleet.Root, r.fleet.Count, m.Thing.leaf()); err != nil {
		return types.Refuse(types.NotInFleet, "thing %v: %v", key, err)
	}
	now := shown{m.Index, types.Sum(types.Encode(m))}
	before, again := r.seen[*key]
	switch {
	case again && before.index != m.Index:
		return types.Refuse(types.ThingTwice, "thing %v at %d, and now at %d", key, before.index, m.Index)
	case again && before.all == now.all:
		return nil
	}
	if m.Until < r.epoch || m.Until-r.epoch > MaxConsent {
		return types.Refuse(types.ConsentEnded, "thing %v agreed until epoch %d, this is %d", key, m.Until, r.epoch)
	}
	if !key.Verify("consent", r.chain, m.Thing.ConsentBytes(r.device, m.Until), m.Consent) {
		return types.Refuse(types.NoConsent, "thing %v", key)
	}
	r.seen[*key] = now
	return nil
}
