package client

import (
	"context"
	"encoding/binary"
	"fmt"

	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cairn-network/cairn/chain/app"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

func coin(amount types.Ustone) sdk.Coin {
	return sdk.NewCoin(app.Denom, math.NewIntFromUint64(uint64(amount)))
}

// message turns one of the ledger's messages into the chain's.
func (c *Client) message(ctx context.Context, from types.Account, msg ledger.Msg) ([]sdk.Msg, error) {
	self := from.String()
	one := func(m sdk.Msg) ([]sdk.Msg, error) { return []sdk.Msg{m}, nil }
	switch m := msg.(type) {
	case ledger.Register:
		return one(&devicetypes.MsgRegisterDevice{Owner: self, Statement: m.Statement.Encode(), Bond: coin(m.Bond)})
	case ledger.Buy:
		return one(&credittypes.MsgBuyCredits{Buyer: self, Amount: coin(m.Amount), MinCredits: uint64(m.Min), Region: uint32(m.Region)})
	case ledger.GrantKey:
		return one(&credittypes.MsgGrantKey{
			Account: self, Key: m.Key.String(), Limit: uint64(m.Limit), Expiry: uint64(m.Expiry), Proof: m.Proof[:], Region: uint32(m.Region),
		})
	case ledger.SetVerifier:
		return one(&tallytypes.MsgSetVerifier{
			Owner: self, Key: m.Key.String(), Vrf: m.VRF.String(), KeyProof: m.KeyProof[:], VrfProof: m.VRFProof[:],
		})
	case ledger.Commit:
		return one(&tallytypes.MsgCommitTally{Sender: self, Header: m.Header, Bitmap: m.Bitmap, Signatures: join(m.Signatures)})
	case ledger.AddSignatures:
		return one(&tallytypes.MsgAddSignatures{
			Sender: self, Epoch: uint64(m.Epoch), Region: uint32(m.Region), Bitmap: m.Bitmap, Signatures: join(m.Signatures),
		})
	case ledger.Claims:
		return c.claims(ctx, self, m)
	case ledger.Appeal:
		p, err := c.tally.Params(ctx, &tallytypes.QueryParamsRequest{})
		if err != nil {
			return nil, fault("ask for the bond of an appeal", err)
		}
		return one(&tallytypes.MsgAppeal{
			Appellant: self, Epoch: uint64(m.Epoch), Region: uint32(m.Region), Bond: coin(types.Ustone(p.Params.AppealBond)),
		})
	case ledger.Vote:
		return one(&tallytypes.MsgVoteAppeal{
			Sender: self, Epoch: uint64(m.Epoch), Region: uint32(m.Region), Key: m.Key.String(), Yes: m.Yes, Signature: m.Sig[:],
		})
	case ledger.Equivocation:
		return one(&tallytypes.MsgReportEquivocation{
			Sender: self, Key: m.Verifier.String(), HeaderA: m.A, SignatureA: m.SigA[:], HeaderB: m.B, SignatureB: m.SigB[:],
		})
	case ledger.SetFleet:
		set := &devicetypes.MsgSetFleet{Owner: self, Device: m.Device.String(), Count: m.Fleet.Count}
		if !m.Fleet.None() {
			set.Root = m.Fleet.Root.String()
		}
		return one(set)
	case ledger.Unbond:
		return one(&devicetypes.MsgUnbondDevice{Owner: self, Device: m.Device.String()})
	case ledger.Send:
		return one(&banktypes.MsgSend{FromAddress: self, ToAddress: m.To.String(), Amount: sdk.NewCoins(coin(m.Amount))})
	case ledger.ModuleMsg:
		out, err := c.moduleMsg(from, m)
		return []sdk.Msg{out}, err
	default:
		return nil, fmt.Errorf("client: no message %T", msg)
	}
}

func join(sigs []types.Signature) []byte {
	out := make([]byte, 0, len(sigs)*len(types.Signature{}))
	for i := range sigs {
		out = append(out, sigs[i][:]...)
	}
	return out
}

// claims makes one batch of all claims, and completes the unbonding of devices whose leaf is late enough for that.
func (c *Client) claims(ctx context.Context, self string, m ledger.Claims) ([]sdk.Msg, error) {
	batch := &tallytypes.MsgClaimBatch{Sender: self}
	out := []sdk.Msg{batch}
	delay, err := c.device.Params(ctx, &devicetypes.QueryParamsRequest{})
	if err != nil {
		return nil, fault("ask for the delay of unbonding", err)
	}
	for i := range m.Claims {
		claim := &m.Claims[i]
		leaf, path := types.Encode(&claim.Leaf), siblings(claim.Proof.Siblings)
		batch.Claims = append(batch.Claims, tallytypes.Claim{
			Epoch: uint64(claim.Epoch), Region: uint32(claim.Region), Leaf: leaf, Index: claim.Proof.Index, Siblings: path,
		})
		d, err := c.device.Device(ctx, &devicetypes.QueryDeviceRequest{Device: claim.Leaf.Device.String()})
		if err != nil {
			continue // the chain says what is wrong with it
		}
		if d.Device.Status == devicetypes.Status_STATUS_UNBONDING && uint64(claim.Epoch) >= d.Device.Unbonding+delay.Params.UnbondDelay {
			out = append(out, &devicetypes.MsgCompleteUnbond{
				Sender: self, Device: d.Device.Device, Epoch: uint64(claim.Epoch), Leaf: leaf, Index: claim.Proof.Index, Siblings: path,
			})
		}
	}
	return out, nil
}

// siblings writes a proof's nodes: 8 bytes of sum, big endian, and 32 of hash each.
func siblings(nodes []merkle.Node) []byte {
	out := make([]byte, 0, 40*len(nodes))
	for _, n := range nodes {
		out = append(binary.BigEndian.AppendUint64(out, n.Sum), n.Hash[:]...)
	}
	return out
}
