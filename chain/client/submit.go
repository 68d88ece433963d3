package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/mempool"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"
	sdkclient "github.com/cosmos/cosmos-sdk/client"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

const (
	gasMargin = 30_000 // what simulation does not count: the true signature, sizes that differ
	attempts  = 20     // at a sequence that the chain did not expect, or a full mempool
)

// errStale: the chain expected another sequence, or cannot take the transaction now. Try again.
var errStale = errors.New("sequence")

// sender is one account that signs. Its lock is held from the look at the sequence until the mempool has the
// transaction.
type sender struct {
	mu       sync.Mutex
	known    bool
	number   uint64
	sequence uint64 // of the next transaction
}

func (c *Client) sender(a types.Account) *sender {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.senders[a]
	if !ok {
		s = new(sender)
		c.senders[a] = s
	}
	return s
}

// Submit implements ledger.Writer.
func (c *Client) Submit(ctx context.Context, from types.Account, msgs ...ledger.Msg) (*ledger.Receipt, error) {
	if len(msgs) == 0 {
		return nil, errors.New("client: a transaction without messages")
	}
	var out []sdk.Msg
	for _, m := range msgs {
		list, err := c.message(ctx, from, m)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	receipt, err := c.SubmitMsgs(ctx, from, out...)
	if claims, ok := msgs[0].(ledger.Claims); ok && len(out) > 1 && len(msgs) == 1 && errors.Is(err, types.AlreadyClaimed) {
		_ = claims // everything was claimed before: only the bonds are left to return
		return c.SubmitMsgs(ctx, from, out[1:]...)
	}
	return receipt, err
}

// SubmitMsgs is Submit for messages of the SDK's form.
func (c *Client) SubmitMsgs(ctx context.Context, from types.Account, msgs ...sdk.Msg) (*ledger.Receipt, error) {
	what := sdk.MsgTypeURL(msgs[0])
	free, asked := app.OfTally(msgs), false
	return c.insist(ctx, from, what, func(ctx context.Context) (raw cmttypes.Tx, err error) {
		if raw, err = c.send(ctx, from, what, msgs, free); errors.Is(err, types.FeeLow) && (free || !asked) {
			free, asked = false, asked || !free // of another than a bonded validator; or the node's price has changed
			c.forgetPrice()
			err = fmt.Errorf("%w: %w", errStale, err)
		}
		return raw, err
	})
}

// insist sends until a transaction is in a block, and again where the chain expected another sequence of from.
func (c *Client) insist(ctx context.Context, from types.Account, what string, send func(context.Context) (cmttypes.Tx, error)) (*ledger.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	for try := 0; ; try++ {
		raw, err := send(ctx)
		if err == nil {
			var receipt *ledger.Receipt
			if receipt, err = c.included(ctx, what, raw); err == nil {
				return receipt, nil
			}
		}
		if !errors.Is(err, errStale) || try+1 == attempts {
			return nil, err
		}
		c.log.Debug("trying again", "account", from, "message", what, "err", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("client: %s: %w", what, ctx.Err())
		case <-time.After(time.Duration(try+1) * 20 * time.Millisecond):
		}
	}
}

// memoSize is how many characters of chance a transaction carries: 80 bits.
const memoSize = 16

// send builds, simulates, signs and hands in one transaction, with a fee unless it is free, and returns its bytes.
func (c *Client) send(ctx context.Context, from types.Account, what string, msgs []sdk.Msg, free bool) (raw cmttypes.Tx, err error) {
	name, public, err := c.keyOf(from)
	if err != nil {
		return nil, err
	}
	s := c.sender(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.after(err) }()
	if !s.known {
		if err := c.load(ctx, from, s); err != nil {
			return nil, err
		}
	}
	b := c.enc.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msgs...); err != nil {
		return nil, fmt.Errorf("client: %s: %w", what, err)
	}
	// No two transactions are the same bytes. Two clients of one account that say the same with the same
	// sequence would else have one hash: where the first of them fails in its block and the second does not,
	// both would take that one for their own, and one payment would be made of two.
	b.SetMemo(rand.Text()[:memoSize])
	gas, err := c.simulate(ctx, what, b, public, s.sequence)
	if err != nil {
		return nil, err
	}
	b.SetGasLimit(gas)
	var fee types.Ustone
	if !free {
		if fee, err = c.fee(ctx, gas); err != nil {
			return nil, err
		}
	}
	if fee > 0 {
		b.SetFeeAmount(sdk.NewCoins(coin(fee)))
	}
	if err := c.sign(ctx, name, public, s, b); err != nil {
		return nil, fmt.Errorf("client: %s: sign for %v: %w", what, from, err)
	}
	return c.hand(ctx, what, s, b)
}

// keyOf returns the keyring's name of an account, and its public key.
func (c *Client) keyOf(a types.Account) (name string, public cryptotypes.PubKey, err error) {
	if c.cfg.Keyring == nil {
		return "", nil, fmt.Errorf("client: %w: none is open to sign for %v", ErrKeyring, a)
	}
	record, err := c.cfg.Keyring.KeyByAddress(sdk.AccAddress(a[:]))
	if err != nil {
		return "", nil, fmt.Errorf("client: %w: no key of %v: %w", ErrKeyring, a, err)
	}
	if public, err = record.GetPubKey(); err != nil {
		return "", nil, fmt.Errorf("client: %w: key of %v: %w", ErrKeyring, a, err)
	}
	return record.Name, public, nil
}

// hand hands in a signed transaction. Its sender's next one has the sequence after it.
func (c *Client) hand(ctx context.Context, what string, s *sender, b sdkclient.TxBuilder) (cmttypes.Tx, error) {
	raw, err := c.enc.TxConfig.TxEncoder()(b.GetTx())
	if err != nil {
		return nil, fmt.Errorf("client: %s: %w", what, err)
	}
	if err := c.broadcast(ctx, what, raw); err != nil {
		if errors.Is(err, errKnown) { // another client of this account sent the same, byte for byte: this one comes after it
			s.sequence++
		}
		return nil, err
	}
	s.sequence++
	return raw, nil
}

// errKnown: the mempool has, or had, a transaction of the same bytes. It is a case of errStale.
var errKnown = fmt.Errorf("%w: a transaction of the same bytes was sent before", errStale)

// broadcast hands a transaction in to the mempool.
func (c *Client) broadcast(ctx context.Context, what string, raw cmttypes.Tx) error {
	res, err := c.rpc.BroadcastTxSync(ctx, raw)
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "mempool is full"):
		return fmt.Errorf("client: %s: %w: %w", what, errStale, err)
	case errors.Is(err, mempool.ErrTxInCache), strings.Contains(err.Error(), mempool.ErrTxInCache.Error()): // remote errors are text
		return fmt.Errorf("client: %s: %w", what, errKnown)
	default:
		return fmt.Errorf("client: %s: hand in: %w", what, err)
	}
	if res.Code == abci.CodeTypeOK {
		return nil
	}
	if stale(res.Codespace, res.Code) {
		return fmt.Errorf("client: %s: %w: %s", what, errStale, res.Log)
	}
	err = refused(what, res.Codespace, res.Code, res.Log)
	if errors.Is(err, types.MempoolFull) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

// after notes what a failure says of the sequence: the next one, where the chain or another client's
// transaction tells it, or that it must be asked for.
func (s *sender) after(err error) {
	if err == nil || errors.Is(err, errKnown) {
		return
	}
	if next, ok := expected(err); ok && errors.Is(err, errStale) {
		s.sequence = next
		return
	}
	s.known = false
}

// expected reads the sequence that the chain wanted out of its refusal, "account sequence mismatch, expected 7,
// got 6": it counts what waits in the mempool, which no query does.
func expected(err error) (next uint64, ok bool) {
	_, rest, found := strings.Cut(err.Error(), "expected ")
	if !found {
		return 0, false
	}
	n, scanErr := fmt.Sscanf(rest, "%d", &next)
	return next, n == 1 && scanErr == nil
}

// load asks the chain for an account's number and sequence.
func (c *Client) load(ctx context.Context, from types.Account, s *sender) error {
	res, err := c.auth.AccountInfo(ctx, &authtypes.QueryAccountInfoRequest{Address: from.String()})
	if err != nil {
		if err := fault("account", err); errors.Is(err, ledger.ErrNotFound) {
			return fmt.Errorf("client: account %v has never held anything: %w", from, types.InsufficientFund)
		}
		return fault("ask for the sequence of "+from.String(), err)
	}
	s.number, s.sequence, s.known = res.Info.AccountNumber, res.Info.Sequence, true
	return nil
}

// simulate returns the gas that a transaction takes, or why it would be refused.
func (c *Client) simulate(ctx context.Context, what string, b sdkclient.TxBuilder, public cryptotypes.PubKey, sequence uint64) (uint64, error) {
	err := b.SetSignatures(signing.SignatureV2{
		PubKey: public, Sequence: sequence,
		Data: &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT, Signature: bytes.Repeat([]byte{1}, 64)},
	})
	if err != nil {
		return 0, fmt.Errorf("client: %s: %w", what, err)
	}
	raw, err := c.enc.TxConfig.TxEncoder()(b.GetTx())
	if err != nil {
		return 0, fmt.Errorf("client: %s: %w", what, err)
	}
	res, err := c.rpc.ABCIQuery(ctx, "/app/simulate", raw)
	if err != nil {
		return 0, fmt.Errorf("client: %s: simulate: %w", what, err)
	}
	if res.Response.Code != abci.CodeTypeOK {
		if stale(res.Response.Codespace, res.Response.Code) {
			return 0, fmt.Errorf("client: %s: %w: %s", what, errStale, res.Response.Log)
		}
		return 0, refused(what, res.Response.Codespace, res.Response.Code, res.Response.Log)
	}
	var sim sdk.SimulationResponse
	if err := c.enc.Codec.UnmarshalJSON(res.Response.Value, &sim); err != nil {
		return 0, fmt.Errorf("client: %s: result of simulation: %w", what, err)
	}
	return sim.GasUsed + sim.GasUsed/3 + gasMargin, nil
}

// sign puts the account's signature in b, before those that others made.
func (c *Client) sign(ctx context.Context, name string, public cryptotypes.PubKey, s *sender, b sdkclient.TxBuilder, others ...signing.SignatureV2) error {
	mode := signing.SignMode_SIGN_MODE_DIRECT
	sig := signing.SignatureV2{PubKey: public, Sequence: s.sequence, Data: &signing.SingleSignatureData{SignMode: mode}}
	if err := b.SetSignatures(append([]signing.SignatureV2{sig}, others...)...); err != nil {
		return err
	}
	data := authsigning.SignerData{
		Address: sdk.AccAddress(public.Address()).String(), ChainID: c.chain,
		AccountNumber: s.number, Sequence: s.sequence, PubKey: public,
	}
	message, err := authsigning.GetSignBytesAdapter(ctx, c.enc.TxConfig.SignModeHandler(), mode, data, b.GetTx())
	if err != nil {
		return err
	}
	made, _, err := c.cfg.Keyring.Sign(name, message, mode)
	if err != nil {
		return err
	}
	sig.Data = &signing.SingleSignatureData{SignMode: mode, Signature: made}
	return b.SetSignatures(append([]signing.SignatureV2{sig}, others...)...)
}

// again is how long included waits before it hands a transaction in once more, in case the mempool dropped it.
const again = 2 * time.Second

// included waits until a transaction is in a block that the application has committed. One that the mempool
// dropped, because another transaction took its sequence, is errStale: it had no effect and never will.
func (c *Client) included(ctx context.Context, what string, raw cmttypes.Tx) (*ledger.Receipt, error) {
	wait, next := min(c.cfg.Poll, 50*time.Millisecond), time.Now().Add(again)
	var dropped error
	for {
		var res *coretypes.ResultTx
		var err error
		if res, err = c.rpc.Tx(ctx, raw.Hash(), false); err == nil {
			r := res.TxResult
			switch {
			case r.Code == abci.CodeTypeOK:
				return &ledger.Receipt{Height: uint64(res.Height), TxHash: res.Hash.String(), Gas: uint64(r.GasUsed)}, nil
			case stale(r.Codespace, r.Code):
				return nil, fmt.Errorf("client: %s: %w: %s", what, errStale, r.Log)
			}
			return nil, refused(what, r.Codespace, r.Code, r.Log)
		}
		if time.Now().After(next) {
			if dropped != nil { // and it has not turned up in a block since, either
				return nil, dropped
			}
			next = time.Now().Add(again)
			// What is in the mempool, or was in a block, is known there. What is neither and has a sequence of
			// the past is lost.
			if err := c.broadcast(ctx, what, raw); errors.Is(err, errStale) && !errors.Is(err, errKnown) {
				if _, told := expected(err); told {
					dropped = err
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("client: %s: transaction %X is in no block yet (%v): %w", what, raw.Hash(), err, ctx.Err())
		case <-time.After(wait):
			wait = min(2*wait, c.cfg.Poll)
		}
	}
}
