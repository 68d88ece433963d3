package compute

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// SlotTime is how many seconds a slot lasts. Slot s begins at the Unix second s·SlotTime.
const SlotTime = 10

// SlotPurpose is the purpose of the VRF that fires slots (beacon.ProveAt).
const SlotPurpose = "compute/slot"

// Caller returns the verifier that calls the checks of an epoch, in all regions: drawn by seed(e) in proportion
// to power. It alone knows when slots fire before they do; whoever has its proof can check it. nil where nobody
// has power.
func Caller(r tally.Registry, seed types.Hash) *tally.Attester {
	var all []tally.Attester
	var powers []uint64
	for a := range r.Attesters() {
		all, powers = append(all, *a), append(powers, a.Power)
	}
	drawn, err := beacon.Draw(beacon.NewStream(seed, SlotPurpose), powers, 1)
	if err != nil || len(drawn) == 0 {
		return nil
	}
	return &all[drawn[0]]
}

// ProveSlot returns the caller's proof for a slot of the epoch of seed, and whether the slot fires. key is the
// private half of tally.Attester.VRF.
func ProveSlot(key types.PrivateKey, chain string, seed types.Hash, slot, rarity uint64) (proof []byte, fires bool) {
	proof = beacon.ProveAt(key, chain, SlotPurpose, seed, slot)
	return proof, SlotFires(key.Public(), chain, seed, slot, rarity, proof)
}

// SlotFires reports whether proof shows that a slot fires: the first 64 bits of the output of the caller's VRF,
// times rarity, stay below 2⁶⁴. One slot in rarity does.
func SlotFires(vrf types.Key, chain string, seed types.Hash, slot, rarity uint64, proof []byte) bool {
	out, err := beacon.OutputAt(vrf, chain, SlotPurpose, seed, slot, proof)
	return err == nil && rarity > 0 && binary.BigEndian.Uint64(out[:8]) <= (1<<64-1)/rarity
}

// Domains in which a check signs.
const (
	DomainNonce = "compute/nonce" // a witness, over Nonce
	DomainStep  = "compute/step"  // the device, over Step
)

// Nonce is what a witness sends when a slot fires, and then starts its clock.
type Nonce struct {
	_      struct{} `cbor:",toarray"`
	Epoch  types.Epoch
	Device types.Key
	Slot   uint64
	Nonce  types.Hash // 32 bytes that nobody else can know before
}

// SignedNonce is a nonce as the device hands it on; epoch, device and slot are those of its Check.
type SignedNonce struct {
	_         struct{} `cbor:",toarray"`
	Witness   types.Key
	Nonce     types.Hash
	Signature types.Signature
}

// Sign returns n, signed by its witness.
func (n *Nonce) Sign(chain string, witness types.PrivateKey) SignedNonce {
	return SignedNonce{Witness: witness.Public(), Nonce: n.Nonce, Signature: witness.Sign(DomainNonce, chain, types.Encode(n))}
}

// Verify reports whether the witness signed the nonce for a device and a slot.
func (s *SignedNonce) Verify(chain string, e types.Epoch, device types.Key, slot uint64) bool {
	n := Nonce{Epoch: e, Device: device, Slot: slot, Nonce: s.Nonce}
	return s.Witness.Verify(DomainNonce, chain, types.Encode(&n), s.Signature)
}

// Seed returns seed₀ of a check: SHA-256(device ‖ u64 slot ‖ nonces in the order of their witnesses' keys).
func Seed(device types.Key, slot uint64, nonces []SignedNonce) types.Hash {
	sorted := slices.Clone(nonces)
	slices.SortFunc(sorted, func(a, b SignedNonce) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
	b := binary.BigEndian.AppendUint64(device[:], slot)
	for i := range sorted {
		b = append(b, sorted[i].Nonce[:]...)
	}
	return types.Sum(b)
}

// Round is how a device computes in checks. The registered model fixes it (Rules).
type Round uint8

// Rounds.
const (
	CPU Round = 1 // mac.Mix, on one chain per free slot
	MAC Round = 2 // an exact matrix product (package mac), on one chain
)

// ChainSeed returns the seed of the first step of a chain: SHA-256(seed₀ ‖ u32 chain).
func ChainSeed(seed types.Hash, chain uint32) types.Hash {
	return types.Sum(binary.BigEndian.AppendUint32(seed[:], chain))
}

// Step is one round of one chain: a device signs it and sends it to all witnesses at once.
type Step struct {
	_     struct{} `cbor:",toarray"`
	Epoch types.Epoch
	Slot  uint64
	Chain uint32
	T     uint32     // from 0
	Seed  types.Hash // of step 0 ChainSeed, then Next of the step before
	Root  types.Hash // what the round gave: of CPU its output, of MAC the root over the product's rows
}

// Next returns the seed of the step after s: SHA-256(seed ‖ root).
func (s *Step) Next() types.Hash { return types.Sum(s.Seed[:], s.Root[:]) }

// SignedStep is a step with its device's signature.
type SignedStep struct {
	_         struct{} `cbor:",toarray"`
	Step      Step
	Signature types.Signature
}

// Sign returns s, signed by its device.
func (s *Step) Sign(chain string, device types.PrivateKey) SignedStep {
	return SignedStep{Step: *s, Signature: device.Sign(DomainStep, chain, types.Encode(s))}
}

// Verify reports whether device signed.
func (s *SignedStep) Verify(chain string, device types.Key) bool {
	return device.Verify(DomainStep, chain, types.Encode(&s.Step), s.Signature)
}
