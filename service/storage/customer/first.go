package customer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// BuysFrom returns the devices that hold something of a wallet's.
func (c *Customer) BuysFrom(w role.Wallet) ([]types.Key, error) {
	a, err := c.account(w)
	if err != nil {
		return nil, err
	}
	return a.books.sessions(w.Payer())
}

const (
	// firstBytes is how much the first round stores: enough that a device's pay is a whole number of credits
	// each epoch.
	firstBytes = 16 << 20
	// firstPatience is how long the first round waits for the devices of an object that it stored before: they
	// are starting too.
	firstPatience = 20 * time.Second
	// firstWait is how long it waits for devices that take a new one.
	firstWait = 3 * time.Minute
)

// needs is what the first round cannot do without. What devices leave to others on their disk has to stay free beside
// what they take.
var needs = role.Needs{Devices: pipeline.Lab.Success, Disk: storage.KeepFree + firstBytes*uint64(pipeline.Lab.N)/uint64(pipeline.Lab.K)}

// first is the object of an account's first round. Name and content follow from the account's secret, so that a
// later first round finds the object, and knows what has to be in it.
func (a *account) first() (ObjectID, []byte) {
	random := rand.NewChaCha8(a.wallet.Secret("storage first round"))
	var id ObjectID
	random.Read(id[:]) // never fails
	content := make([]byte, firstBytes)
	random.Read(content)
	return id, content
}

// FirstRound stores an object, reads it back and compares. It waits for as many devices as the profile needs.
// Where an earlier first round has stored the object already it reads it back only; where that fails for good
// it replaces it.
func (c *Customer) FirstRound(ctx context.Context, w role.Wallet) (string, error) {
	a, err := c.account(w)
	if err != nil {
		return "", err
	}
	id, content := a.first()
	o, err := a.books.object(id)
	if err != nil {
		return "", err
	}
	still := ""
	if o != nil {
		if still, err = "still ", a.readFirst(ctx, id, o, content); err != nil {
			if ctx.Err() != nil {
				return "", err
			}
			a.log.Warn("storage: what an earlier first round stored cannot be read, and is replaced", "object", id, "err", err)
			if err := a.delete(ctx, id, o); err != nil {
				return "", err
			}
			o = nil
		}
	}
	if o == nil {
		still = ""
		if o, err = a.putFirst(ctx, id, content); err != nil {
			return "", err
		}
		if err := a.compare(ctx, id, o, content); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("storage: %d MiB %son %d devices of distinct owners, read back the same from any %d (object %v)", firstBytes>>20, still, len(o.Devices), pipeline.Lab.K, id), nil
}

// putFirst stores the object once there are devices enough. Where there are none in the end, it says what the
// last try met.
func (a *account) putFirst(ctx context.Context, id ObjectID, content []byte) (*object, error) {
	for end := time.Now().Add(firstWait); ; {
		o, err := a.putAs(ctx, id, bytes.NewReader(content), about{name: "first.bin", size: int64(len(content))}, pipeline.Lab)
		if types.ReasonOf(err) != storage.TooFewDevices || time.Now().After(end) {
			return o, err
		}
		select { // they are still starting
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Second):
		}
	}
}

// readFirst compares, and tries again while the devices may still be starting.
func (a *account) readFirst(ctx context.Context, id ObjectID, o *object, content []byte) error {
	for end := time.Now().Add(firstPatience); ; {
		err := a.compare(ctx, id, o, content)
		if err == nil || errors.Is(err, errChanged) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

var errChanged = errors.New("it came back changed")

// compare reads an object back.
func (a *account) compare(ctx context.Context, id ObjectID, o *object, content []byte) error {
	back := bytes.NewBuffer(make([]byte, 0, len(content)))
	in, err := a.read(ctx, id, o, 0, int64(o.Bytes))
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.Copy(back, in); err != nil {
		return err
	}
	if !bytes.Equal(content, back.Bytes()) {
		return fmt.Errorf("storage: object %v: %w", id, errChanged)
	}
	return nil
}
