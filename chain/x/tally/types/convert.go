package types

import (
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// NewVerifier returns the entry in a new chain's genesis of a validator whose operator's account is owner.
func NewVerifier(chain string, owner types.Account, key, vrf types.PrivateKey) Verifier {
	proof := evidence.VerifierBytes(owner, key.Public(), vrf.Public())
	k, v := key.Sign("verifier", chain, proof), vrf.Sign("verifier", chain, proof)
	return Verifier{Owner: owner.String(), Key: key.Public().String(), Vrf: vrf.Public().String(), KeyProof: k[:], VrfProof: v[:]}
}

// Attester returns v as the registry view has it.
func (v *Verifier) Attester() (a tally.Attester, err error) {
	a.Power = v.Power
	if a.Key, err = types.ParseKey(v.Key); err != nil {
		return a, err
	}
	if a.VRF, err = types.ParseKey(v.Vrf); err != nil {
		return a, err
	}
	a.Owner, err = types.ParseAccount(v.Owner)
	return a, err
}

// CheckProofs checks the signatures by which both keys agree to serve the owner.
func CheckProofs(chain string, a *tally.Attester, keyProof, vrfProof []byte) error {
	if len(keyProof) != len(types.Signature{}) || len(vrfProof) != len(types.Signature{}) {
		return types.Refuse(types.BadSignature, "verifier keys of %v: proofs of %d and %d bytes", a.Owner, len(keyProof), len(vrfProof))
	}
	signed := evidence.VerifierBytes(a.Owner, a.Key, a.VRF)
	if !a.Key.Verify("verifier", chain, signed, types.Signature(keyProof)) || !a.VRF.Verify("verifier", chain, signed, types.Signature(vrfProof)) {
		return types.Refuse(types.BadSignature, "verifier keys of %v", a.Owner)
	}
	return nil
}

// EscrowOf returns a region's allotment in its stored form.
func EscrowOf(e types.Epoch, r types.Region, a econ.Allotment) Escrow {
	return Escrow{
		Epoch: uint64(e), Region: uint32(r), Settled: uint64(a.Settled), Pay: uint64(a.Pay), Bonus: uint64(a.Bonus),
		Subsidy: uint64(a.Subsidy), Verifiers: uint64(a.Verifiers), Treasury: uint64(a.Treasury), Burn: uint64(a.Burn),
	}
}

// Allotment returns e as the arithmetic has it.
func (e *Escrow) Allotment() econ.Allotment {
	return econ.Allotment{
		Settled: types.Credit(e.Settled), Pay: types.Ustone(e.Pay), Bonus: types.Ustone(e.Bonus), Subsidy: types.Ustone(e.Subsidy),
		Verifiers: types.Ustone(e.Verifiers), Treasury: types.Ustone(e.Treasury), Burn: types.Ustone(e.Burn),
	}
}

// SettlementOf returns what the chain made of an epoch in its stored form.
func SettlementOf(e types.Epoch, s econ.Settlement, height uint64) Settlement {
	out := Settlement{Epoch: uint64(e), Owed: uint64(s.Owed), Settled: uint64(s.Settled), Payout: uint64(s.Payout), Height: height}
	for _, k := range s.Shares {
		out.Shares = append(out.Shares, Share{Category: uint32(k.Category), Emitted: uint64(k.Emitted), Weight: k.Weight.String()})
	}
	return out
}

// DefaultGenesis is a new chain without verifiers: they set their keys (MsgSetVerifier).
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks each part of a state, and that nothing is there twice.
func (g *GenesisState) Validate() error {
	if err := g.Params.Validate(); err != nil {
		return err
	}
	keys := map[string]bool{}
	for i := range g.Verifiers {
		a, err := g.Verifiers[i].Attester()
		if err != nil {
			return fmt.Errorf("verifier %d: %w", i, err)
		}
		for _, k := range []string{a.Key.String(), a.VRF.String(), a.Owner.String()} {
			if keys[k] {
				return fmt.Errorf("%s is a verifier's twice", k)
			}
			keys[k] = true
		}
	}
	for i, e := range g.Epochs {
		if e.Epoch == 0 || e.First > e.Cut || i > 0 && (e.Epoch != g.Epochs[i-1].Epoch+1 || e.First != g.Epochs[i-1].Cut+1) {
			return fmt.Errorf("epoch %d, blocks %d to %d, does not follow the one before", e.Epoch, e.First, e.Cut)
		}
	}
	if n, size := uint64(len(g.Blocks)), uint64(len(types.Hash{})); n > 0 {
		if len(g.Epochs) == 0 || n%size != 0 || g.BlocksFrom == 0 || g.BlocksFrom+n/size-1 > g.Epochs[len(g.Epochs)-1].Cut {
			return fmt.Errorf("%d bytes of blocks' hashes from block %d do not fit the epochs", n, g.BlocksFrom)
		}
	}
	headers := map[[2]uint64]Status{}
	for _, h := range g.Headers {
		at := [2]uint64{uint64(h.Region), h.Epoch}
		if _, twice := headers[at]; twice || h.Region >= g.Params.Regions {
			return fmt.Errorf("header of epoch %d, region %d: there twice, or no such region", h.Epoch, h.Region)
		}
		headers[at] = h.Status
		if h.Status == Status_STATUS_SKIPPED || h.Status == Status_STATUS_VOIDED {
			continue
		}
		if _, err := tally.DecodeHeader(h.Raw); err != nil {
			return fmt.Errorf("header of epoch %d, region %d: %w", h.Epoch, h.Region, err)
		}
	}
	for _, a := range g.Appeals {
		if headers[[2]uint64{uint64(a.Region), a.Epoch}] != Status_STATUS_APPEALED {
			return fmt.Errorf("appeal of epoch %d, region %d, whose header is not appealed", a.Epoch, a.Region)
		}
	}
	for _, c := range g.Claimed {
		if _, err := types.ParseKey(c.Device); err != nil {
			return fmt.Errorf("claimed: %w", err)
		}
	}
	for _, k := range g.Keys {
		if _, err := types.ParseKey(k.Key); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	return nil
}
