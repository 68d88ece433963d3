package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	cmttypes "github.com/cometbft/cometbft/types"
	sdkclient "github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// MakeDeal implements ledger.Dealer, with the keyring's keys. It signs Amino JSON, as hardware wallets do: that
// says nothing of the taker's key, which may be new to the chain.
func (c *Client) MakeDeal(ctx context.Context, d *ledger.Deal) error {
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	if err := inTime(d, head); err != nil {
		return err
	}
	name, public, err := c.keyOf(d.Maker)
	if err != nil {
		return err
	}
	s := new(sender) // what is in a block: a transaction that waits in the mempool would undo the deal
	if err := c.load(ctx, d.Maker, s); err != nil {
		return err
	}
	d.Chain, d.Sequence, d.Key = c.chain, s.sequence, public.Bytes()
	if d.Fee, err = c.fee(ctx, d.Gas); err != nil {
		return err
	}
	b, err := c.dealTx(ctx, d)
	if err != nil {
		return err
	}
	message, err := c.makersBytes(ctx, d, s.number, b)
	if err != nil {
		return err
	}
	if d.Signature, _, err = c.cfg.Keyring.Sign(name, message, makersMode); err != nil {
		return fmt.Errorf("client: deal: sign for %v: %w", d.Maker, err)
	}
	return nil
}

// TakeDeal implements ledger.Dealer. A fee beyond what this client pays for so much gas is refused too.
func (c *Client) TakeDeal(ctx context.Context, d *ledger.Deal) (*ledger.Receipt, error) {
	if d.Chain != c.chain {
		return nil, types.Refuse(types.WrongChain, "client: a deal on %.50q", d.Chain)
	}
	own, err := c.fee(ctx, d.Gas)
	if err != nil {
		return nil, err
	}
	if d.Fee > own {
		return nil, fmt.Errorf("client: it takes a fee of %d ustone for %d gas, more than %d: %w", d.Fee, d.Gas, own, ledger.ErrLapsed)
	}
	return c.insist(ctx, d.Taker, "deal", func(ctx context.Context) (cmttypes.Tx, error) {
		if err := c.holds(ctx, d); err != nil {
			return nil, err
		}
		return c.take(ctx, d)
	})
}

// inTime says that a deal has lapsed, if it has.
func inTime(d *ledger.Deal, head ledger.Block) error {
	if d.Until <= head.Height {
		return fmt.Errorf("client: it lapsed with block %d: %w", d.Until, ledger.ErrLapsed)
	}
	return nil
}

// holds says why a deal does not hold now, if it does not.
func (c *Client) holds(ctx context.Context, d *ledger.Deal) error {
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	if err := inTime(d, head); err != nil {
		return err
	}
	s := new(sender)
	if err := c.load(ctx, d.Maker, s); err != nil {
		return err
	}
	if s.sequence != d.Sequence {
		return fmt.Errorf("client: %v has signed %d other transactions since: %w", d.Maker, int64(s.sequence-d.Sequence), ledger.ErrLapsed)
	}
	b, err := c.dealTx(ctx, d)
	if err != nil {
		return err
	}
	message, err := c.makersBytes(ctx, d, s.number, b)
	if err != nil {
		return err
	}
	public, err := makersKey(d)
	if err != nil {
		return err
	}
	if !public.VerifySignature(message, d.Signature) {
		return types.Refuse(types.BadSignature, "client: the deal is not what %v signed", d.Maker)
	}
	return nil
}

func makersKey(d *ledger.Deal) (cryptotypes.PubKey, error) {
	public := &secp256k1.PubKey{Key: d.Key}
	if len(d.Key) != secp256k1.PubKeySize || !bytes.Equal(public.Address(), d.Maker[:]) {
		return nil, types.Refuse(types.BadSignature, "client: the deal's key is not that of %v", d.Maker)
	}
	return public, nil
}

const makersMode = signing.SignMode_SIGN_MODE_LEGACY_AMINO_JSON

// dealTx builds the transaction of a deal. The taker's message comes first, so that the taker pays the fee.
func (c *Client) dealTx(ctx context.Context, d *ledger.Deal) (sdkclient.TxBuilder, error) {
	takes, err1 := c.message(ctx, d.Taker, d.Takes)
	makes, err2 := c.message(ctx, d.Maker, d.Makes)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	b := c.enc.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(append(takes, makes...)...); err != nil {
		return nil, fmt.Errorf("client: deal: %w", err)
	}
	b.SetGasLimit(d.Gas)
	b.SetTimeoutHeight(d.Until)
	if d.Fee > 0 {
		b.SetFeeAmount(sdk.NewCoins(coin(d.Fee)))
	}
	return b, nil
}

// makersBytes is what the maker signs.
func (c *Client) makersBytes(ctx context.Context, d *ledger.Deal, number uint64, b sdkclient.TxBuilder) ([]byte, error) {
	public, err := makersKey(d)
	if err != nil {
		return nil, err
	}
	data := authsigning.SignerData{Address: d.Maker.String(), ChainID: c.chain, AccountNumber: number, Sequence: d.Sequence, PubKey: public}
	message, err := authsigning.GetSignBytesAdapter(ctx, c.enc.TxConfig.SignModeHandler(), makersMode, data, b.GetTx())
	if err != nil {
		return nil, fmt.Errorf("client: deal: %w", err)
	}
	return message, nil
}

// take puts the taker's signature beside the maker's, and hands the deal in.
func (c *Client) take(ctx context.Context, d *ledger.Deal) (raw cmttypes.Tx, err error) {
	name, public, err := c.keyOf(d.Taker)
	if err != nil {
		return nil, err
	}
	s := c.sender(d.Taker)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.after(err) }()
	if !s.known {
		if err := c.load(ctx, d.Taker, s); err != nil {
			return nil, err
		}
	}
	b, err := c.dealTx(ctx, d)
	if err != nil {
		return nil, err
	}
	maker, err := makersKey(d)
	if err != nil {
		return nil, err
	}
	theirs := signing.SignatureV2{PubKey: maker, Sequence: d.Sequence, Data: &signing.SingleSignatureData{SignMode: makersMode, Signature: d.Signature}}
	if err := c.sign(ctx, name, public, s, b, theirs); err != nil {
		return nil, fmt.Errorf("client: deal: sign for %v: %w", d.Taker, err)
	}
	return c.hand(ctx, "deal", s, b)
}
