package tally

import (
	"iter"

	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/types"
)

// Device is a line of the registry view: what the chain says of a device as of an epoch's start. Its encoding
// is an array of its fields.
type Device struct {
	Key        types.Key
	Owner      types.Account
	Categories []types.Category // ascending
	Cell       types.Cell       // its place; its region follows from it at registration and stays
	Model      uint64           // the registered model, 0 for none
	Bond       types.Ustone
	Slashed    types.Ustone // what claims have burned of the bond for proven misconduct
	Suspended  types.Epoch  // suspended up to and including this epoch
	Fleet      fleet.Fleet  // the things behind it
}

// deviceFields are the elements of a Device's array without its fleet, which is the last and is there only if
// there is one.
const deviceFields = 8

// MarshalCBOR implements cbor.Marshaler.
func (d Device) MarshalCBOR() ([]byte, error) {
	b := types.AppendHead(make([]byte, 0, 128), types.MajorArray, deviceFields+fleetFields(&d.Fleet))
	b = types.AppendBytes(types.AppendBytes(b, d.Key[:]), d.Owner[:])
	b = types.AppendHead(b, types.MajorArray, uint64(len(d.Categories)))
	for _, c := range d.Categories {
		b = types.AppendUint(b, c)
	}
	b = types.AppendUint(types.AppendUint(b, d.Cell), d.Model)
	b = types.AppendUint(types.AppendUint(types.AppendUint(b, d.Bond), d.Slashed), d.Suspended)
	return appendFleet(b, &d.Fleet), nil
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (d *Device) UnmarshalCBOR(b []byte) error {
	c := types.NewCursor(b)
	n := c.Array(deviceFields + 1)
	if n < deviceFields {
		c.Fail()
	}
	*d = Device{}
	c.Fixed(d.Key[:])
	c.Fixed(d.Owner[:])
	d.Categories = make([]types.Category, c.Array(maxCategories))
	for i := range d.Categories {
		d.Categories[i] = types.Category(c.Uint(1<<16 - 1))
	}
	d.Cell, d.Model = types.Cell(c.U64()), c.U64()
	d.Bond, d.Slashed, d.Suspended = types.Ustone(c.U64()), types.Ustone(c.U64()), types.Epoch(c.U64())
	parseFleet(&c, &d.Fleet, n > deviceFields)
	return c.End()
}

// fleetFields is how many elements a fleet adds to an array: none where there is none.
func fleetFields(f *fleet.Fleet) uint64 {
	if f.None() {
		return 0
	}
	return 1
}

// appendFleet appends a fleet as the last element of an array, if there is one.
func appendFleet(b []byte, f *fleet.Fleet) []byte {
	if f.None() {
		return b
	}
	return types.AppendUint(types.AppendBytes(append(b, types.MajorArray|2), f.Root[:]), f.Count)
}

// parseFleet reads what appendFleet wrote; there says whether the array has the element.
func parseFleet(c *types.Cursor, f *fleet.Fleet, there bool) {
	*f = fleet.Fleet{}
	if !there {
		return
	}
	if c.Array(2) != 2 {
		c.Fail()
	}
	c.Fixed(f.Root[:])
	if f.Count = c.Uint(fleet.MaxCount); f.None() {
		c.Fail() // of none nothing is written
	}
}

// Holder is a customer's account: what it has bought in this region, in total, ever.
type Holder struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Bought  types.Credit
}

// Grant is a session key of an account. A key serves one account, once.
type Grant struct {
	_       struct{} `cbor:",toarray"`
	Key     types.Key
	Account types.Account
	Limit   types.Credit // what the key may spend in total
	Expiry  types.Epoch  // the last epoch in which it may
}

// Attester is a verifier as the chain lists it: a validator's attestation key, which signs acks, headers,
// reports and notices.
type Attester struct {
	_     struct{} `cbor:",toarray"`
	Key   types.Key
	VRF   types.Key // the public key of its ECVRF (RFC 9381)
	Owner types.Account
	Power uint64 // bonded consensus stake; 0 while jailed
}

// Change is one step from the registry view of an epoch to that of the next. Exactly one field is set. What an
// account bought never falls, a key never changes its account, and a device that was removed never comes back.
// A grant may be extended while it lasts and for receipt.MaxExpiry epochs after; then the tally has forgotten
// what its key spent.
type Change struct {
	Device   *Device   `cbor:"1,keyasint,omitempty"` // added or changed
	Remove   types.Key `cbor:"2,keyasint,omitzero"`  // a device that unbonds
	Holder   *Holder   `cbor:"3,keyasint,omitempty"`
	Grant    *Grant    `cbor:"4,keyasint,omitempty"`
	Attester *Attester `cbor:"5,keyasint,omitempty"` // Power 0 removes it
}

// Registry is the registry view as a Verify sees it: read-only, as of the epoch's start.
type Registry interface {
	Device(types.Key) *Device // nil if there is none
	Grant(types.Key) *Grant
	Attester(types.Key) *Attester
	// Attesters lists those with power, Devices those that are registered for a category, both ascending by
	// key. What they yield is the reader's.
	Attesters() iter.Seq[*Attester]
	Devices(types.Category) iter.Seq[*Device]
}
