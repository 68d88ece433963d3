package network

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/ledger"
)

// KeyRequest asks for an API key of an account whose key the ledger holds.
type KeyRequest struct {
	Account types.Account
	Label   string
	Limit   types.Credit // that the key may spend in total
	Epochs  types.Epoch  // for which it may
	Funder  types.Account
	Fund    types.Ustone // sent from Funder to Account first; 0 for nothing
}

// CreateKey has a gateway make an API key and the account grant it on chain.
func CreateKey(ctx context.Context, l ledger.Ledger, api string, in KeyRequest) (*gateway.Key, error) {
	if in.Fund > 0 {
		if _, err := l.Submit(ctx, in.Funder, ledger.Send{To: in.Account, Amount: in.Fund}); err != nil {
			return nil, fmt.Errorf("fund %v: %w", in.Account, err)
		}
	}
	body, err := json.Marshal(gateway.CreateKey{Account: in.Account, Label: in.Label})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", api+"/v1/keys", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway for a key: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the gateway for a key: %s %s", res.Status, raw)
	}
	key := new(gateway.Key)
	if err := json.Unmarshal(raw, key); err != nil {
		return nil, fmt.Errorf("the gateway's key: %w", err)
	}
	consent, err := hex.DecodeString(key.Consent)
	if err != nil || len(consent) != len(types.Signature{}) {
		return nil, fmt.Errorf("the gateway's key: consent %.80q", key.Consent)
	}
	head, err := l.Head(ctx)
	if err != nil {
		return nil, err
	}
	grant := ledger.GrantKey{Key: key.Payer, Limit: in.Limit, Expiry: head.Epoch + in.Epochs, Proof: types.Signature(consent)}
	if _, err := l.Submit(ctx, in.Account, grant); err != nil {
		return nil, fmt.Errorf("grant %v: %w", key.Payer, err)
	}
	return key, nil
}

// What the home's own customer starts with.
const (
	firstPurchase types.Ustone = 200 * stoneUnit
	firstLimit    types.Credit = 50_000_000
	firstEpochs   types.Epoch  = 8000
)

// EnsureCustomer gives the home's own customer credits and an API key, where it has none, and waits until the key can spend.
func (n *Network) EnsureCustomer(ctx context.Context) (*Customer, error) {
	l := n.Ledger()
	account, err := l.Lookup(CustomerName)
	if err != nil {
		return nil, err
	}
	info, err := l.Account(ctx, account)
	if err != nil {
		return nil, fmt.Errorf("network: customer: %w", err)
	}
	if info.Bought == 0 {
		quote, err := l.Quote(ctx, firstPurchase)
		if err != nil {
			return nil, fmt.Errorf("network: customer: %w", err)
		}
		if _, err := l.Submit(ctx, account, ledger.Buy{Amount: firstPurchase, Min: quote}); err != nil {
			return nil, fmt.Errorf("network: customer buys credits: %w", err)
		}
		n.cfg.Progress(Step{Text: fmt.Sprintf("the customer bought $%d.%02d of credits for %d STONE", quote/1e6, quote%1e6/1e4, firstPurchase/stoneUnit), Done: true})
	}
	customer, err := ReadCustomer(n.cfg.Home)
	if errors.Is(err, fs.ErrNotExist) {
		key, kerr := CreateKey(ctx, l, n.Addresses().API, KeyRequest{Account: account, Label: "home", Limit: firstLimit, Epochs: firstEpochs})
		if kerr != nil {
			return nil, fmt.Errorf("network: customer: %w", kerr)
		}
		customer = &Customer{Account: account, Payer: key.Payer, APIKey: key.APIKey}
		err = writeJSON(n.path(customerFile), customer, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("network: customer: %w", err)
	}
	for { // the registry view that knows the grant and the purchase begins with the next epoch
		wallet, err := n.gateway.Wallet(ctx, customer.APIKey)
		if err != nil {
			return nil, fmt.Errorf("network: customer: %w", err)
		}
		if wallet.Balance() > 0 {
			return customer, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("network: the customer's key cannot spend yet: %w", ctx.Err())
		case <-time.After(n.cfg.BlockTime):
		}
	}
}
