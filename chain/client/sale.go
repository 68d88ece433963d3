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
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	certificatetypes "github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// saleGas is the gas limit of a sale, about twice what one takes: the seller cannot simulate what the buyer has not signed.
const saleGas = 300_000

// Offer signs, for its owner, the sale of a certificate to a buyer for a price. The offer holds for the next blocks, or until the owner
// signs anything else. It signs Amino JSON, as hardware wallets do: that says nothing of the buyer's key, which may be new to the chain.
func (c *Client) Offer(ctx context.Context, id lot.ID, buyer types.Account, price types.Ustone, blocks uint64) (*ledger.Sale, error) {
	now, err := c.Certificate(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, types.Refuse(types.UnknownCertificate, "%v", id)
	}
	if err != nil {
		return nil, err
	}
	head, err := c.Head(ctx)
	if err != nil {
		return nil, err
	}
	name, public, err := c.keyOf(now.Owner)
	if err != nil {
		return nil, err
	}
	s := new(sender) // what is in a block: a transaction that waits in the mempool would undo the offer
	if err := c.load(ctx, now.Owner, s); err != nil {
		return nil, err
	}
	fee, err := c.fee(ctx, saleGas)
	if err != nil {
		return nil, err
	}
	sale := &ledger.Sale{
		Chain: c.chain, Certificate: id, Seller: now.Owner, Buyer: buyer, Price: price, Until: head.Height + blocks,
		Gas: saleGas, Fee: fee, Sequence: s.sequence, Key: public.Bytes(),
	}
	if err := checkSale(sale, now, head.Height); err != nil {
		return nil, err
	}
	b, err := c.saleTx(sale)
	if err != nil {
		return nil, err
	}
	message, err := c.sellersBytes(ctx, sale, s.number, b)
	if err != nil {
		return nil, err
	}
	sale.Signature, _, err = c.cfg.Keyring.Sign(name, message, sellersMode)
	if err != nil {
		return nil, fmt.Errorf("client: sign the sale of %v: %w", id, err)
	}
	return sale, nil
}

// Accept signs an offer as its buyer, whose key the keyring has, and hands in the sale. It refuses with types.CertificateSale what does not
// hold any more, before anything is signed.
func (c *Client) Accept(ctx context.Context, sale *ledger.Sale) (*ledger.Receipt, error) {
	if sale.Chain != c.chain {
		return nil, types.Refuse(types.WrongChain, "client: an offer on %.50q", sale.Chain)
	}
	own, err := c.fee(ctx, min(sale.Gas, saleGas))
	if err != nil {
		return nil, err
	}
	if sale.Gas > saleGas || sale.Fee > own {
		return nil, types.Refuse(types.CertificateSale, "client: it takes a fee of %d ustone for %d gas, more than %d for %d", sale.Fee, sale.Gas, own, saleGas)
	}
	return c.insist(ctx, sale.Buyer, "sale", func(ctx context.Context) (cmttypes.Tx, error) {
		if err := c.stands(ctx, sale); err != nil {
			return nil, err
		}
		return c.buy(ctx, sale)
	})
}

// checkSale says what is wrong with an offer of a certificate as it is at a height.
func checkSale(sale *ledger.Sale, now *ledger.Certificate, height uint64) error {
	refuse := func(format string, args ...any) error {
		return types.Refuse(types.CertificateSale, "client: "+format, args...)
	}
	switch {
	case now.Owner != sale.Seller:
		return refuse("%v has another owner, %v", sale.Certificate, now.Owner)
	case now.State != ledger.CertificateActive:
		return refuse("%v is %s", sale.Certificate, now.State)
	case sale.Buyer == sale.Seller:
		return refuse("%v would buy of itself", sale.Buyer)
	case sale.Price == 0:
		return refuse("no price: to give it away, transfer it")
	case sale.Until <= height:
		return refuse("it lapsed with block %d", sale.Until)
	}
	return nil
}

// stands says why an offer does not hold now, if it does not.
func (c *Client) stands(ctx context.Context, sale *ledger.Sale) error {
	now, err := c.Certificate(ctx, sale.Certificate)
	if errors.Is(err, ledger.ErrNotFound) {
		return types.Refuse(types.UnknownCertificate, "%v", sale.Certificate)
	}
	if err != nil {
		return err
	}
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	if err := checkSale(sale, now, head.Height); err != nil {
		return err
	}
	s := new(sender)
	if err := c.load(ctx, sale.Seller, s); err != nil {
		return err
	}
	if s.sequence != sale.Sequence {
		return types.Refuse(types.CertificateSale, "client: the seller has signed %d other transactions since", int64(s.sequence-sale.Sequence))
	}
	b, err := c.saleTx(sale)
	if err != nil {
		return err
	}
	message, err := c.sellersBytes(ctx, sale, s.number, b)
	if err != nil {
		return err
	}
	public, err := sellersKey(sale)
	if err != nil {
		return err
	}
	if !public.VerifySignature(message, sale.Signature) {
		return types.Refuse(types.BadSignature, "client: the offer is not what %v signed", sale.Seller)
	}
	return nil
}

func sellersKey(sale *ledger.Sale) (cryptotypes.PubKey, error) {
	public := &secp256k1.PubKey{Key: sale.Key}
	if len(sale.Key) != secp256k1.PubKeySize || !bytes.Equal(public.Address(), sale.Seller[:]) {
		return nil, types.Refuse(types.BadSignature, "client: the offer's key is not that of %v", sale.Seller)
	}
	return public, nil
}

const sellersMode = signing.SignMode_SIGN_MODE_LEGACY_AMINO_JSON

// saleTx builds the transaction of an offer. The buyer's message comes first, so that the buyer pays the fee.
func (c *Client) saleTx(sale *ledger.Sale) (sdkclient.TxBuilder, error) {
	b := c.enc.TxConfig.NewTxBuilder()
	err := b.SetMsgs(
		&banktypes.MsgSend{FromAddress: sale.Buyer.String(), ToAddress: sale.Seller.String(), Amount: sdk.NewCoins(coin(sale.Price))},
		&certificatetypes.MsgTransfer{Owner: sale.Seller.String(), Id: sale.Certificate.String(), To: sale.Buyer.String()},
	)
	if err != nil {
		return nil, fmt.Errorf("client: sale: %w", err)
	}
	b.SetGasLimit(sale.Gas)
	b.SetTimeoutHeight(sale.Until)
	if sale.Fee > 0 {
		b.SetFeeAmount(sdk.NewCoins(coin(sale.Fee)))
	}
	return b, nil
}

// sellersBytes is what the seller signs.
func (c *Client) sellersBytes(ctx context.Context, sale *ledger.Sale, number uint64, b sdkclient.TxBuilder) ([]byte, error) {
	public, err := sellersKey(sale)
	if err != nil {
		return nil, err
	}
	data := authsigning.SignerData{Address: sale.Seller.String(), ChainID: c.chain, AccountNumber: number, Sequence: sale.Sequence, PubKey: public}
	message, err := authsigning.GetSignBytesAdapter(ctx, c.enc.TxConfig.SignModeHandler(), sellersMode, data, b.GetTx())
	if err != nil {
		return nil, fmt.Errorf("client: sale: %w", err)
	}
	return message, nil
}

// buy puts the buyer's signature beside the seller's, and hands the sale in.
func (c *Client) buy(ctx context.Context, sale *ledger.Sale) (raw cmttypes.Tx, err error) {
	name, public, err := c.keyOf(sale.Buyer)
	if err != nil {
		return nil, err
	}
	s := c.sender(sale.Buyer)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.after(err) }()
	if !s.known {
		if err := c.load(ctx, sale.Buyer, s); err != nil {
			return nil, err
		}
	}
	b, err := c.saleTx(sale)
	if err != nil {
		return nil, err
	}
	seller, err := sellersKey(sale)
	if err != nil {
		return nil, err
	}
	theirs := signing.SignatureV2{PubKey: seller, Sequence: sale.Sequence, Data: &signing.SingleSignatureData{SignMode: sellersMode, Signature: sale.Signature}}
	if err := c.sign(ctx, name, public, s, b, theirs); err != nil {
		return nil, fmt.Errorf("client: sale: sign for %v: %w", sale.Buyer, err)
	}
	return c.hand(ctx, "sale", s, b)
}
