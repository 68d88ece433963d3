package compute

import (
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// DomainOrder is the domain in which a session key signs an order (types.SigningBytes).
const DomainOrder = "compute/order"

// Bounds of terms and orders.
const (
	MaxName     = 128 // bytes of a profile
	MaxProfiles = 32  // that one device offers
	MaxAddress  = 259 // bytes: host:port
	MaxInline   = 256 << 10
	maxOrder    = 8 << 10 // bytes of an encoded SignedOrder
	maxAnswer   = 8 << 10
)

// Terms are the terms of the category's asks (receipt.Ask.Terms).
type Terms struct {
	_        struct{}  `cbor:",toarray"`
	Address  string    // host:port at which witnesses and customers reach the device; "" for a device that only dials out
	Profiles []Profile // what it runs of the ask's class, ascending by name
	// Session is that of the order which the ask accepts: receipts are signed under such asks alone. It is zero
	// in an ask that a device publishes.
	Session types.SessionID
	// Egress is what containers may reach, each a Reach, ascending; none for nothing, and in asks that accept an order.
	Egress []string `cbor:"-"`
}

// openTerms are terms with something in Egress, as they are encoded: others are as long as before there was any.
type openTerms struct {
	_        struct{} `cbor:",toarray"`
	Address  string
	Profiles []Profile
	Session  types.SessionID
	Egress   []string
}

// Profile is one that a device runs.
type Profile struct {
	_    struct{} `cbor:",toarray"`
	Name string   // as Job.Profile
	// Prompt and Completion are how many tokens one of each counts as, where the class is Model; else both are 0.
	Prompt, Completion uint32
}

// Encode returns the terms as an ask holds them.
func (t *Terms) Encode() []byte {
	if len(t.Egress) > 0 {
		return types.Encode(&openTerms{Address: t.Address, Profiles: t.Profiles, Session: t.Session, Egress: t.Egress})
	}
	return types.Encode(t)
}

// Runs reports whether the terms name a profile.
func (t *Terms) Runs(profile string) bool {
	return slices.ContainsFunc(t.Profiles, func(p Profile) bool { return p.Name == profile })
}

// DecodeTerms reads the terms of an ask of a class.
func DecodeTerms(raw []byte, class types.Class) (*Terms, error) {
	t := new(Terms)
	if err := types.DecodeLimit(raw, t, receipt.MaxTerms); err != nil {
		o := new(openTerms)
		if types.DecodeLimit(raw, o, receipt.MaxTerms) != nil {
			return nil, fmt.Errorf("compute: terms: %w", err)
		}
		t = &Terms{Address: o.Address, Profiles: o.Profiles, Session: o.Session, Egress: o.Egress}
		if len(t.Egress) == 0 || class != OCI {
			return nil, types.Refuse(types.BadEncoding, "compute: terms: %d rules of what is reached, of class %d", len(t.Egress), class)
		}
		if err := checkEgress(t.Egress); err != nil {
			return nil, err
		}
	}
	if len(t.Address) > MaxAddress || len(t.Profiles) == 0 || len(t.Profiles) > MaxProfiles {
		return nil, types.Refuse(types.BadEncoding, "compute: terms: an address of %d bytes, %d profiles", len(t.Address), len(t.Profiles))
	}
	for i, p := range t.Profiles {
		tokens := p.Prompt != 0 || p.Completion != 0
		if ClassOf(p.Name) != class || len(p.Name) > MaxName || i > 0 && p.Name <= t.Profiles[i-1].Name || tokens != (class == Model) {
			return nil, types.Refuse(types.BadEncoding, "compute: terms: profile %.50q in an ask of class %d", p.Name, class)
		}
	}
	return t, nil
}

// Order asks one device to run one job. It is signed by the session's payer key.
type Order struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Payer    types.Key
	Session  types.SessionID
	Index    uint64     // of the job in its session
	Job      types.Hash // Job.Hash
	Class    types.Class
	Slots    uint32
	Price    uint64    // micro-credits per scale of the class that the job costs, at least the device's ask
	Ceiling  uint64    // at least Price: what the session's ask says, so that jobs of other prices can follow in it
	RunnerUp []byte    // the signed ask (receipt.SignedAsk) by which the price was made; empty for none
	Deadline uint64    // Unix milliseconds until which the device may accept
	Mode     Mode      // Public or Private
	Gateway  string    // host:port to which the device dials for what does not ride along, and to hand in what comes out
	Link     types.Key // that of the gateway's end there (package link)
}

// SignedOrder is an order with its payer's signature.
type SignedOrder struct {
	_         struct{} `cbor:",toarray"`
	Order     Order
	Signature types.Signature
}

// Payload is what the payer signs, in DomainOrder.
func (o *Order) Payload() []byte { return types.Encode(o) }

// Hash names the order.
func (o *Order) Hash() types.Hash { return types.Sum(o.Payload()) }

// Encode returns the encoding of s.
func (s *SignedOrder) Encode() []byte { return types.Encode(s) }

// Verify reports whether the payer signed.
func (s *SignedOrder) Verify(chain string) bool {
	return s.Order.Payer.Verify(DomainOrder, chain, s.Order.Payload(), s.Signature)
}

// DecodeOrder reads a signed order. It checks form, not the signature.
func DecodeOrder(raw []byte) (*SignedOrder, error) {
	s := new(SignedOrder)
	if err := types.DecodeLimit(raw, s, maxOrder); err != nil {
		return nil, fmt.Errorf("compute: order: %w", err)
	}
	return s, s.Order.check()
}

// check says what is wrong with an order's form.
func (o *Order) check() error {
	if o.Class < Wasm || o.Class > Model || o.Slots == 0 || o.Mode != Public && o.Mode != Private || len(o.Gateway) > MaxAddress || o.Ceiling < o.Price {
		return types.Refuse(types.BadEncoding, "compute: order: class %d, %d slots, mode %d, gateway of %d bytes, price %d of %d", o.Class, o.Slots, o.Mode,
			len(o.Gateway), o.Price, o.Ceiling)
	}
	return nil
}

// Answer is what a device says to an order: a reason (Busy, Unpaid, PriceBelowAsk, Policy, Draining), or an ask.
type Answer struct {
	_      struct{}     `cbor:",toarray"`
	Order  types.Hash   // Order.Hash
	Reason types.Reason // "" where the device accepts
	// Ask is a signed ask (receipt.SignedAsk) of the order's class at the order's ceiling, with the session in
	// its Terms: the receipts' terms. A session has one. It bounds what receipts may say; what each job costs
	// its order says. Empty where the device refuses.
	Ask []byte
}

// Encode returns the encoding of a.
func (a *Answer) Encode() []byte { return types.Encode(a) }

// DecodeAnswer reads an answer.
func DecodeAnswer(raw []byte) (*Answer, error) {
	a := new(Answer)
	if err := types.DecodeLimit(raw, a, maxAnswer); err != nil {
		return nil, fmt.Errorf("compute: answer: %w", err)
	}
	if (a.Reason == "") != (len(a.Ask) > 0) || len(a.Reason) > MaxName {
		return nil, types.Refuse(types.BadEncoding, "compute: answer: reason %.50q and an ask of %d bytes", a.Reason, len(a.Ask))
	}
	return a, nil
}

// Accepts returns the ask of an answer that accepts o, once it is checked: signed by the device, of the order's
// class and price, for its session, and not lapsed in epoch now.
func (a *Answer) Accepts(chain string, o *Order, now types.Epoch) (*receipt.SignedAsk, error) {
	if a.Order != o.Hash() {
		return nil, types.Refuse(types.SessionMismatch, "compute: answer to order %s", a.Order)
	}
	if a.Reason != "" {
		return nil, types.Refuse(a.Reason, "compute: device %s", o.Device)
	}
	s, err := receipt.DecodeAsk(a.Ask, chain)
	if err != nil {
		return nil, fmt.Errorf("compute: answer: %w", err)
	}
	ask := &s.Ask
	terms, err := DecodeTerms(ask.Terms, o.Class)
	switch {
	case err != nil:
		return nil, fmt.Errorf("compute: answer: %w", err)
	case ask.Device != o.Device || ask.Category != types.Compute || ask.Class != o.Class || terms.Session != o.Session:
		return nil, types.Refuse(ClassMismatch, "compute: answer: an ask of %s, class %d, for session %s", ask.Device, ask.Class, terms.Session)
	case ask.Price > o.Ceiling || ask.Price < o.Price:
		return nil, types.Refuse(Overpriced, "compute: answer: an ask of %d, the order says %d to %d", ask.Price, o.Price, o.Ceiling)
	case ask.Until < now:
		return nil, types.Refuse(types.SessionExpired, "compute: answer: an ask until epoch %d", ask.Until)
	case !s.Verify():
		return nil, types.Refuse(types.BadSignature, "compute: answer: the ask is not signed by %s", ask.Device)
	}
	return s, nil
}
