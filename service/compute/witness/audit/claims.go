package audit

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// claims remember what devices committed to, as they showed it to this auditor: of each leaf what was seen
// first, for as long as faults count. An auditor sees a bounded number of leaves in an epoch (Config.Leaves),
// and so there are 24 times as many.
type claims struct {
	db    *bbolt.DB
	chain string
}

var claimBucket = []byte("claims") // device ‖ session ‖ u64 index → claimed

// claimed is a claim, and when it was seen.
type claimed struct {
	_     struct{} `cbor:",toarray"`
	Epoch types.Epoch
	Claim compute.Claim
}

func openClaims(path, chain string) (*claims, error) {
	db, err := bolt.Open(path, claimBucket)
	if err != nil {
		return nil, fmt.Errorf("compute: audit: %w", err)
	}
	return &claims{db, chain}, nil
}

func (c *claims) close() error { return c.db.Close() }

// add remembers a claim, unless one of the same leaf is there: that is returned.
func (c *claims) add(e types.Epoch, device types.Key, claim *compute.Claim) (before *compute.Claim, err error) {
	leaf := &claim.Committed.Leaf
	key := binary.BigEndian.AppendUint64(append(append([]byte(nil), device[:]...), leaf.Session[:]...), leaf.Index)
	err = c.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(claimBucket)
		if raw := b.Get(key); raw != nil {
			old := new(claimed)
			if err := types.DecodeLimit(raw, old, evidence.MaxBody); err != nil {
				return err
			}
			before = &old.Claim
			return nil
		}
		return b.Put(key, types.Encode(&claimed{Epoch: e, Claim: *claim}))
	})
	if err != nil {
		return nil, fmt.Errorf("compute: audit: remember a leaf: %w", err)
	}
	return before, nil
}

// forget forgets what is too old for a fault.
func (c *claims) forget(now types.Epoch) error {
	err := c.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(claimBucket)
		var old [][]byte
		err := b.ForEach(func(k, v []byte) error {
			in := new(claimed)
			if err := types.DecodeLimit(v, in, evidence.MaxBody); err != nil || in.Epoch+compute.FaultDelay < now {
				old = append(old, append([]byte(nil), k...))
			}
			return nil
		})
		for _, k := range old {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("compute: audit: forget old leaves: %w", err)
	}
	return nil
}
