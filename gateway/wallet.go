package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// keyPrefix starts every API key, so that scanners of leaked secrets can recognise one.
const keyPrefix = "cairn_"

// maxWallets bounds how many API keys one gateway keeps.
const maxWallets = 100_000

var (
	walletBucket = []byte("wallets")  // payer → record
	apiBucket    = []byte("api keys") // SHA-256 of an API key → payer
	secretBucket = []byte("secrets")  // account → 32 bytes
)

// record is a wallet on disk.
type record struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Seed    [32]byte // of the session key
	Label   string
	Created uint64 // Unix seconds
}

// Wallet is one customer's API key at this gateway: a session key that the account granted on chain, which signs what the
// customer's requests cost. The account's own key never comes near a gateway.
type Wallet struct {
	account types.Account
	key     types.PrivateKey
	secret  [32]byte
	label   string
	chain   string
	balance func(types.Key) types.Credit
}

var _ role.Wallet = (*Wallet)(nil)

// Account returns the account that pays.
func (w *Wallet) Account() types.Account { return w.account }

// Payer returns the session key.
func (w *Wallet) Payer() types.Key { return w.key.Public() }

// Label is what the customer called the key.
func (w *Wallet) Label() string { return w.label }

// Sign signs payload with the session key in the domain of kind.
func (w *Wallet) Sign(kind string, payload []byte) types.Signature {
	return w.key.Sign(kind, w.chain, payload)
}

// TLS returns the session key for its TLS certificate.
func (w *Wallet) TLS() types.PrivateKey { return w.key }

// Consent returns the session key's signature that it serves the account: what the account shows when it grants the key.
func (w *Wallet) Consent() types.Signature {
	return w.key.Sign("grant", w.chain, evidence.GrantBytes(w.account))
}

// Secret derives the account's secret for a purpose.
func (w *Wallet) Secret(purpose string) [32]byte { return derive(w.secret, purpose) }

// Balance returns what the wallet may still spend, as far as the gateway knows.
func (w *Wallet) Balance() types.Credit { return w.balance(w.key.Public()) }

// store keeps wallets in a bbolt file that only its owner can read.
type store struct {
	db      *bbolt.DB
	chain   string
	balance func(types.Key) types.Credit
}

func openStore(path, chain string, balance func(types.Key) types.Credit) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, types.Refuse(types.HomeBusy, "gateway: %s is in use", path)
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: open wallets %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{walletBucket, apiBucket, secretBucket, promiseBucket} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("gateway: prepare wallets %s: %w", path, err)
	}
	return &store{db: db, chain: chain, balance: balance}, nil
}

// create makes an API key of account and returns it; only its hash is kept. The account's secret is made with its first key, or is
// the one given (to recover what was stored through another gateway).
func (s *store) create(account types.Account, label string, secret *[32]byte) (*Wallet, string, error) {
	var seed, api [32]byte
	rand.Read(seed[:])
	rand.Read(api[:])
	key := types.NewPrivateKey(seed)
	payer := key.Public()
	text := keyPrefix + base64.RawURLEncoding.EncodeToString(api[:])
	hash := sha256.Sum256([]byte(text))
	rec := record{Account: account, Seed: seed, Label: label, Created: uint64(time.Now().Unix())}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		wallets := tx.Bucket(walletBucket)
		if n, err := wallets.NextSequence(); err != nil {
			return err
		} else if n > maxWallets {
			return types.Refuse(types.OverQuota, "gateway: it keeps %d API keys already", maxWallets)
		}
		secrets := tx.Bucket(secretBucket)
		switch old := secrets.Get(account[:]); {
		case old != nil && secret != nil && string(old) != string(secret[:]):
			return fmt.Errorf("gateway: account %v has another secret here", account)
		case old == nil:
			var fresh [32]byte
			if secret != nil {
				fresh = *secret
			} else {
				rand.Read(fresh[:])
			}
			if err := secrets.Put(account[:], fresh[:]); err != nil {
				return err
			}
		}
		if err := wallets.Put(payer[:], types.Encode(&rec)); err != nil {
			return err
		}
		return tx.Bucket(apiBucket).Put(hash[:], payer[:])
	})
	if err != nil {
		return nil, "", fmt.Errorf("gateway: create API key: %w", err)
	}
	w, err := s.byPayer(payer)
	return w, text, err
}

// find returns the wallet of an API key.
func (s *store) find(api string) (*Wallet, error) {
	if !strings.HasPrefix(api, keyPrefix) {
		return nil, types.Refuse(NoKey, "gateway: no API key")
	}
	hash := sha256.Sum256([]byte(api))
	var payer types.Key
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(apiBucket).Get(hash[:])
		if v == nil {
			return types.Refuse(NoKey, "gateway: unknown API key")
		}
		copy(payer[:], v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.byPayer(payer)
}

func (s *store) byPayer(payer types.Key) (*Wallet, error) {
	var rec record
	var secret [32]byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(walletBucket).Get(payer[:])
		if v == nil {
			return types.Refuse(NoKey, "gateway: no wallet %v", payer)
		}
		if err := types.Decode(v, &rec); err != nil {
			return err
		}
		copy(secret[:], tx.Bucket(secretBucket).Get(rec.Account[:]))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: wallet %v: %w", payer, err)
	}
	return &Wallet{
		account: rec.Account, key: types.NewPrivateKey(rec.Seed), secret: secret,
		label: rec.Label, chain: s.chain, balance: s.balance,
	}, nil
}

// all lists the wallets by payer.
func (s *store) all() ([]*Wallet, error) {
	var payers []types.Key
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(walletBucket).ForEach(func(k, _ []byte) error {
			payers = append(payers, types.Key(k))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: list wallets: %w", err)
	}
	wallets := make([]*Wallet, 0, len(payers))
	for _, p := range payers {
		w, err := s.byPayer(p)
		if err != nil {
			return nil, err
		}
		wallets = append(wallets, w)
	}
	return wallets, nil
}
