// Package bolt opens the databases that roles keep, each a file of bbolt's.
package bolt

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bolterr "go.etcd.io/bbolt/errors"

	"github.com/cairn-network/cairn/core/types"
)

// wait is how long another process is waited for that has the file open.
const wait = 5 * time.Second

// Open opens a database, which it makes where there is none, and makes its buckets. It is home_busy while
// another process has it, and home_unwritable where it may not be written.
func Open(path string, buckets ...[]byte) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: wait, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterr.ErrTimeout):
		return nil, types.Refuse(types.HomeBusy, "%s: another process has it open", path)
	case errors.Is(err, os.ErrPermission):
		return nil, types.Refuse(types.HomeUnwritable, "%v", err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return db, nil
}
