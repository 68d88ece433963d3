package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// keyPrefix starts every API key, so that scanners of leaked secrets can recognise one.
const keyPrefix = "cairn_"

// maxWallets bounds how many API keys one gateway keeps that an account granted, and maxPending how many that
// none did yet. A pending key costs nothing to ask for, so it has to make room: after keepPending, or earlier
// where there are too many.
const (
	maxWallets  = 100_000
	maxPending  = 100_000
	keepPending = 10 * time.Minute
)

// Sequences of walletBucket and pendingBucket count what is in them.
var (
	walletBucket  = []byte("wallets")  // payer → record, once the account granted the key
	pendingBucket = []byte("pending")  // payer → record, until then
	orderBucket   = []byte("order")    // when it was made, in Unix nanoseconds (8 bytes), ‖ payer of a pending key → SHA-256 of its API key
	apiBucket     = []byte("api keys") // SHA-256 of an API key → payer
	secretBucket  = []byte("secrets")  // account → 32 bytes, made when its first key is granted
	metaBucket    = []byte("meta")     // name → what the agent remembers
)

// errFull says that there are maxPending keys that nobody granted.
var errFull = errors.New("gateway: too many API keys wait for a grant")

// record is a wallet on disk.
type record struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Seed    [32]byte // of the session key
	Label   string
	Created uint64 // Unix nanoseconds
}

// Wallet is one customer's API key at this gateway: a session key that the account granted on chain, which
// signs what the customer's requests cost. The account's own key never comes near a gateway.
type Wallet struct {
	account types.Account
	key     types.PrivateKey
	secret  [32]byte
	label   string
	chain   string
	balance func(types.Key) types.Credit
	awaited func(context.Context, *Wallet) (types.Credit, time.Duration)
	pending bool // no grant was seen: the account's secret is not here
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

// Consent returns the session key's signature that it serves the account: what the account shows when it grants
// the key.
func (w *Wallet) Consent() types.Signature {
	return w.key.Sign("grant", w.chain, evidence.GrantBytes(w.account))
}

// Secret derives the account's secret for a purpose.
func (w *Wallet) Secret(purpose string) [32]byte { return derive(w.secret, purpose) }

// Balance returns what the wallet may still spend, as far as the gateway knows.
func (w *Wallet) Balance() types.Credit { return w.balance(w.key.Public()) }

// Awaited implements role.Wallet.
func (w *Wallet) Awaited(ctx context.Context) (types.Credit, time.Duration) {
	if w.awaited == nil {
		return 0, 0
	}
	return w.awaited(ctx, w)
}

var _ role.Wallet = (*Wallet)(nil)

// store keeps wallets in a bbolt file that only its owner can read.
type store struct {
	agent.Bucket // what the agent remembers
	db           *bbolt.DB
	chain        string
	balance      func(types.Key) types.Credit
	awaited      func(context.Context, *Wallet) (types.Credit, time.Duration)
	now          func() time.Time
	room         uint64 // for pending keys

	mu   sync.Mutex
	sums map[types.Key]types.Credit // what each payer has promised, in all its sessions

	cursor []byte // where forget goes on
}

func openStore(path, chain string, balance func(types.Key) types.Credit) (*store, error) {
	db, err := bolt.Open(path, walletBucket, pendingBucket, orderBucket, apiBucket, secretBucket, promiseBucket, endedBucket, metaBucket)
	if err != nil {
		return nil, fmt.Errorf("gateway: wallets: %w", err)
	}
	s := &store{Bucket: agent.Bucket{DB: db, Name: metaBucket}, db: db, chain: chain, balance: balance, now: time.Now, room: maxPending, sums: map[types.Key]types.Credit{}}
	if err := s.addUp(); err != nil {
		db.Close()
		return nil, fmt.Errorf("gateway: read %s: %w", path, err)
	}
	return s, nil
}

// create makes an API key of account and returns it; only its hash is kept. The key is pending until confirm.
// It returns errFull where there is no room.
func (s *store) create(account types.Account, label string) (*Wallet, string, error) {
	var seed, api [32]byte
	rand.Read(seed[:])
	rand.Read(api[:])
	key := types.NewPrivateKey(seed)
	payer := key.Public()
	text := keyPrefix + base64.RawURLEncoding.EncodeToString(api[:])
	hash := sha256.Sum256([]byte(text))
	rec := record{Account: account, Seed: seed, Label: label, Created: uint64(s.now().UnixNano())}
	err := s.db.Batch(func(tx *bbolt.Tx) error { // many at once share one write to the disk
		pending := tx.Bucket(pendingBucket)
		if pending.Sequence() >= s.room {
			return errFull
		}
		return errors.Join(
			pending.SetSequence(pending.Sequence()+1),
			pending.Put(payer[:], types.Encode(&rec)),
			tx.Bucket(orderBucket).Put(orderKey(rec.Created, payer), hash[:]),
			tx.Bucket(apiBucket).Put(hash[:], payer[:]))
	})
	if err != nil {
		return nil, "", fmt.Errorf("gateway: create API key: %w", err)
	}
	w, err := s.byPayer(payer)
	return w, text, err
}

func orderKey(created uint64, payer types.Key) []byte {
	return append(binary.BigEndian.AppendUint64(nil, created), payer[:]...)
}

// confirm keeps a pending key for good, because its account granted it, and makes the account's secret with its
// first key.
func (s *store) confirm(payer types.Key) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		pending, wallets, secrets := tx.Bucket(pendingBucket), tx.Bucket(walletBucket), tx.Bucket(secretBucket)
		raw := bytes.Clone(pending.Get(payer[:]))
		if raw == nil {
			return nil // somebody else was faster
		}
		if wallets.Sequence() >= maxWallets {
			return types.Refuse(Full, "it keeps %d API keys", maxWallets)
		}
		var rec record
		if err := types.Decode(raw, &rec); err != nil {
			return err
		}
		if secrets.Get(rec.Account[:]) == nil {
			var fresh [32]byte
			rand.Read(fresh[:])
			if err := secrets.Put(rec.Account[:], fresh[:]); err != nil {
				return err
			}
		}
		return errors.Join(
			pending.SetSequence(pending.Sequence()-1),
			pending.Delete(payer[:]),
			tx.Bucket(orderBucket).Delete(orderKey(rec.Created, payer)),
			wallets.SetSequence(wallets.Sequence()+1),
			wallets.Put(payer[:], raw))
	})
	if err != nil {
		return fmt.Errorf("gateway: keep API key of %v: %w", payer, err)
	}
	return nil
}

// drop forgets pending keys.
func (s *store) drop(payers []types.Key) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		pending, order, apis := tx.Bucket(pendingBucket), tx.Bucket(orderBucket), tx.Bucket(apiBucket)
		for _, payer := range payers {
			raw := pending.Get(payer[:])
			if raw == nil {
				continue
			}
			var rec record
			if err := types.Decode(raw, &rec); err != nil {
				return err
			}
			at := orderKey(rec.Created, payer)
			hash := bytes.Clone(order.Get(at))
			if err := errors.Join(apis.Delete(hash), order.Delete(at), pending.Delete(payer[:]), pending.SetSequence(pending.Sequence()-1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("gateway: drop API keys: %w", err)
	}
	return nil
}

// oldest returns at most n pending keys that were made before a time, oldest first, each with its account.
func (s *store) oldest(before time.Time, n int) (payers []types.Key, accounts []types.Account, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(orderBucket).Cursor()
		for k, _ := c.First(); k != nil && len(payers) < n && binary.BigEndian.Uint64(k) < uint64(before.UnixNano()); k, _ = c.Next() {
			var rec record
			if err := types.Decode(tx.Bucket(pendingBucket).Get(k[8:]), &rec); err != nil {
				return err
			}
			payers, accounts = append(payers, types.Key(k[8:])), append(accounts, rec.Account)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("gateway: oldest API keys: %w", err)
	}
	return payers, accounts, nil
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
	pending := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(walletBucket).Get(payer[:])
		if v == nil {
			v, pending = tx.Bucket(pendingBucket).Get(payer[:]), true
		}
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
		label: rec.Label, chain: s.chain, balance: s.balance, awaited: s.awaited, pending: pending,
	}, nil
}

// payers lists the session keys that accounts granted, ascending.
func (s *store) payers() (payers []types.Key, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(walletBucket).ForEach(func(k, _ []byte) error {
			payers = append(payers, types.Key(k))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: list wallets: %w", err)
	}
	return payers, nil
}

// all lists the wallets whose keys accounts granted, by payer.
func (s *store) all() ([]*Wallet, error) {
	payers, err := s.payers()
	if err != nil {
		return nil, err
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
