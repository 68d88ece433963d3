package customer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// A gateway knows what an object is made of, and nobody else does. Its owner may take that along (GET recovery)
// and give it to another gateway (PUT recovery), where the same account then reads the object: a device serves
// a shard to every key of the account that pays for it. The other gateway only reads it. It pays for no
// holding, mends nothing, and lets no shard go: that stays with the gateway that stored it, and where that is
// gone for good, the shards are as soon as what was signed for them has ended. Whoever wants to go on stores
// the object anew.

// record is what recovery hands over of one object. Whoever has it, and a key of the account, can read the object.
type record struct {
	_        struct{} `cbor:",toarray"`
	Format   uint64   // 1
	Account  types.Account
	ID       ObjectID
	Object   object
	Type     string
	Key      pipeline.BucketKey // that the manifest's key is wrapped by: made for this record
	Mask     pipeline.MaskKey   // of the account's shards at the gateway that stored it
	Manifest []byte
}

const (
	recordFormat = 1
	// maxRecovery bounds a record, in bytes: an object of some 150 GiB.
	maxRecovery = 16 << 20
)

var foreignBucket = []byte("foreign") // id → pipeline.MaskKey of an object that another gateway keeps

func (c *Customer) serveRecovery(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	a, id, o, err := c.find(wallet, r.PathValue("id"))
	if err != nil {
		return err
	}
	m, err := a.books.shape(id)
	if err != nil {
		return err
	}
	rec := record{Format: recordFormat, Account: wallet.Account(), ID: id, Object: *o, Type: o.Type, Mask: a.secret.Mask()}
	if mask, err := a.books.foreign(id); err != nil {
		return err
	} else if mask != nil {
		rec.Mask = *mask
	}
	rand.Read(rec.Key[:])
	if m, err = m.Rewrap(a.secret.Bucket(bucket), rec.Key); err != nil {
		return fmt.Errorf("storage: recovery of %v: %w", id, err)
	}
	rec.Manifest = m.Encode()
	raw := types.Encode(&rec)
	if len(raw) > maxRecovery {
		return types.Refuse(types.Oversize, "storage: the record of object %v has %d bytes, at most %d are handed over", id, len(raw), maxRecovery)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(raw)
	return err
}

func (c *Customer) serveRecover(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	a, err := c.account(wallet)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRecovery))
	if over := new(http.MaxBytesError); errors.As(err, &over) {
		return types.Refuse(types.Oversize, "storage: a record of more than %d bytes", maxRecovery)
	}
	if err != nil {
		return types.Refuse(storage.Truncated, "%v", err)
	}
	rec, m, err := readRecord(raw, wallet.Account(), r.PathValue("id"))
	if err != nil {
		return err
	}
	had, err := a.books.object(rec.ID)
	if err != nil {
		return err
	}
	if had == nil {
		if m, err = m.Rewrap(rec.Key, a.secret.Bucket(bucket)); err != nil {
			return types.Refuse(role.BadRequest, "storage: record: %v", err)
		}
		rec.Object.Type = rec.Type
		if err := a.books.putForeign(rec.ID, &rec.Object, m.Encode(), rec.Mask); err != nil {
			return err
		}
		had = &rec.Object
	}
	return role.Reply(w, http.StatusOK, c.describe(a, rec.ID, had))
}

// readRecord reads a record of an account's object, and refuses what no gateway would have written.
func readRecord(raw []byte, account types.Account, id string) (*record, *pipeline.Manifest, error) {
	bad := func(format string, args ...any) (*record, *pipeline.Manifest, error) {
		return nil, nil, types.Refuse(role.BadRequest, "storage: record: "+format, args...)
	}
	rec := new(record)
	if err := types.DecodeLimit(raw, rec, maxRecovery); err != nil {
		return bad("%v", err)
	}
	m, err := pipeline.DecodeManifest(rec.Manifest)
	switch o := &rec.Object; {
	case err != nil:
		return bad("%v", err)
	case rec.Format != recordFormat:
		return bad("format %d, this gateway reads %d", rec.Format, recordFormat)
	case rec.Account != account:
		return bad("it is of account %v", rec.Account)
	case rec.ID.String() != id:
		return bad("it is of object %v", rec.ID)
	case len(o.Devices) != int(m.N) || o.Bytes != m.Size || len(o.Absent) > (len(m.Segments)*len(o.Devices)+7)/8:
		return bad("object and manifest are of different sizes")
	case profiles[o.Profile].N != int(m.N):
		return bad("profile %.40q", o.Profile)
	case role.CheckText("name", o.Name, maxName) != nil || role.CheckText("content type", rec.Type, maxType) != nil:
		return bad("a name or a content type that could not be shown")
	}
	return rec, m, nil
}

// foreign returns the mask of an object that another gateway keeps; nil for one of this gateway.
func (b *books) foreign(id ObjectID) (mask *pipeline.MaskKey, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(foreignBucket).Get(id[:])
		if raw == nil {
			return nil
		}
		if mask = new(pipeline.MaskKey); len(raw) != len(mask) {
			return fmt.Errorf("storage: books: mask of %v: %w", id, storage.BadRecord)
		}
		copy(mask[:], raw)
		return nil
	})
	return mask, err
}

func (b *books) putForeign(id ObjectID, o *object, manifest []byte, mask pipeline.MaskKey) error {
	err := b.db.Update(func(tx *bbolt.Tx) error { // before the object: it is never without
		return tx.Bucket(foreignBucket).Put(id[:], mask[:])
	})
	if err != nil {
		return fmt.Errorf("storage: books: enter object %v: %w", id, err)
	}
	return b.putObject(id, o, manifest)
}
