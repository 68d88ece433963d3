package customer

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

var _ role.Starter = (*Customer)(nil)

// firstBytes is how much the first round stores: enough that a device's pay is a whole number of credits each epoch.
const firstBytes = 16 << 20

// FirstRound stores an object, reads it back and compares. It waits for as many devices as the profile needs.
func (c *Customer) FirstRound(ctx context.Context, w role.Wallet) (string, error) {
	a, err := c.account(w)
	if err != nil {
		return "", err
	}
	content := make([]byte, firstBytes)
	rand.Read(content)
	id, o, err := a.put(ctx, bytes.NewReader(content), "first.bin", pipeline.Lab)
	for types.ReasonOf(err) == storage.TooFewDevices { // they are still starting
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(time.Second):
		}
		id, o, err = a.put(ctx, bytes.NewReader(content), "first.bin", pipeline.Lab)
	}
	if err != nil {
		return "", err
	}
	back := bytes.NewBuffer(make([]byte, 0, firstBytes))
	if err := a.get(ctx, id, o, back, 0, -1); err != nil {
		return "", err
	}
	if !bytes.Equal(content, back.Bytes()) {
		return "", fmt.Errorf("storage: object %v came back changed", id)
	}
	return fmt.Sprintf("storage: %d MiB on %d devices of distinct owners, read back the same from any %d (object %v)", firstBytes>>20, len(o.Devices), pipeline.Lab.K, id), nil
}
