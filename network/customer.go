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
	"path/filepath"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
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

// keyPatience is how long a gateway may take to make an API key.
const keyPatience = 30 * time.Second

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
	asking, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(asking, "POST", api+"/v1/keys", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
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
	grant := ledger.GrantKey{Region: key.Region, Key: key.Payer, Limit: in.Limit, Expiry: head.Epoch + in.Epochs, Proof: types.Signature(consent)}
	if _, err := l.Submit(ctx, in.Account, grant); err != nil {
		return nil, fmt.Errorf("grant %v: %w", key.Payer, err)
	}
	return key, nil
}

// What the home's own customer starts with, and each owner of a device behind simulated hardware.
const (
	firstPurchase types.Ustone = 200 * stoneUnit
	firstLimit    types.Credit = 50_000_000
	firstEpochs   types.Epoch  = 8000
)

// EnsureCustomer gives the home's own customer credits and an API key, where it has none, and waits until the
// key can spend.
func (n *Network) EnsureCustomer(ctx context.Context) (*Customer, error) {
	customer, bought, err := n.ensureWallet(ctx, CustomerName, n.cfg.Home, "home")
	if err != nil {
		return nil, fmt.Errorf("network: customer: %w", err)
	}
	if bought > 0 {
		n.cfg.Progress(Step{Text: fmt.Sprintf("the customer bought $%d.%02d of credits for %d STONE", bought/1e6, bought%1e6/1e4, firstPurchase/stoneUnit), Done: true})
	}
	return customer, n.spendable(ctx, "the customer", customer)
}

// ensureWallet gives an account of the keyring credits and an API key, where it has none; the key is kept in a
// folder.
func (n *Network) ensureWallet(ctx context.Context, name, dir, label string) (customer *Customer, bought types.Credit, err error) {
	l := n.Ledger()
	account, err := l.Lookup(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := l.Account(ctx, account)
	if err != nil {
		return nil, 0, err
	}
	if info.In(n.region()) == 0 {
		if bought, err = l.Quote(ctx, firstPurchase); err != nil {
			return nil, 0, err
		}
		if _, err := l.Submit(ctx, account, ledger.Buy{Region: n.region(), Amount: firstPurchase, Min: bought}); err != nil {
			return nil, 0, fmt.Errorf("buy credits: %w", err)
		}
	}
	customer, err = ReadCustomer(dir)
	if errors.Is(err, fs.ErrNotExist) {
		key, kerr := CreateKey(ctx, l, n.Addresses().API, KeyRequest{Account: account, Label: label, Limit: firstLimit, Epochs: firstEpochs})
		if kerr != nil {
			return nil, 0, kerr
		}
		customer = &Customer{Account: account, Payer: key.Payer, APIKey: key.APIKey}
		err = writeJSON(filepath.Join(dir, customerFile), customer, 0o600)
	}
	return customer, bought, err
}

// spendable waits until a customer's key can spend: the registry view that knows the grant and the purchase
// begins with the next epoch. It waits no longer than a vigil for a block, and says that it does.
func (n *Network) spendable(ctx context.Context, who string, customer *Customer) error {
	begun := time.Now()
	for said := begun; ; {
		wallet, err := n.gateway.Wallet(ctx, customer.APIKey)
		if err != nil {
			return fmt.Errorf("network: customer: %w", err)
		}
		if wallet.Balance() > 0 {
			return nil
		}
		switch now := time.Now(); {
		case now.Sub(begun) > mostStill:
			return types.Refuse(role.CreditPending, "network: %v's key cannot spend after %v: no epoch has begun that counts its credits; the log says why", customer.Account, mostStill)
		case now.Sub(said) > wordStill:
			said = now
			n.cfg.Progress(Step{Text: fmt.Sprintf("%s's credits count from the next epoch on; it is waited for %v", who, mostStill)})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("network: %v's key cannot spend yet: %w", customer.Account, ctx.Err())
		case <-time.After(n.cfg.BlockTime):
		}
	}
}
