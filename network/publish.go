package network

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/manifest"
)

// publisherKey is the file of a home with the key that signs its manifests.
const publisherKey = "publisher.key"

// PublisherKey loads the key that signs the manifests of a home, or makes one.
func PublisherKey(home string) (types.PrivateKey, error) {
	return ownKey("network: the publisher's key", filepath.Join(home, publisherKey))
}

// Describe returns a manifest that names what the chain itself knows, but no places.
func Describe(ctx context.Context, l *client.Client) (manifest.Manifest, error) {
	m := manifest.Manifest{Format: manifest.Format, Chain: l.Chain(), Published: manifest.Time(time.Now().Unix())}
	head, err := l.Head(ctx)
	if err != nil {
		return m, err
	}
	m.Block = manifest.Block{Height: head.Height, Hash: head.Hash}
	epoch, err := l.Epoch(ctx, head.Epoch)
	if err != nil {
		return m, err
	}
	m.Epoch, m.Verifiers = epoch.Epoch, bus.SetOf(epoch.Verifiers)
	if m.Genesis, err = l.Genesis(ctx); err != nil {
		return m, err
	}
	m.Regions, err = l.Regions(ctx)
	return m, err
}

// publish writes manifest.json: what whoever joins this network needs. One that says the same, but for a later
// time and block, replaces the home's in any case: it is the home's own.
func (n *Network) publish(ctx context.Context) (*manifest.Signed, error) {
	m, err := Describe(ctx, n.Ledger())
	if err != nil {
		return nil, err
	}
	for _, c := range n.chains {
		at := c.Addresses()
		m.RPC = append(m.RPC, "http://"+at.RPC)
		m.Seeds = append(m.Seeds, c.ID()+"@"+at.P2P)
	}
	m.Buses, m.Gateways = []string{n.bus.URL()}, []string{"http://" + n.page.Addr().String()}
	key, err := PublisherKey(n.cfg.Home)
	if err != nil {
		return nil, err
	}
	switch old, err := manifest.Load(n.cfg.Home); {
	case err == nil:
		m.Published = max(m.Published, old.Manifest.Published+1) // also twice within a second
	case !errors.Is(err, fs.ErrNotExist):
		n.log.Warn("manifest.json cannot be read, and is made anew", "err", err)
	}
	signed, err := m.Sign(key)
	if err != nil {
		return nil, err
	}
	return signed, files.Replace(n.path(manifest.File), signed.Encode(), 0o644)
}

// Made reports whether a network was made in a home, whether or not it runs.
func Made(home string) bool {
	_, err := os.Stat(filepath.Join(home, layoutFile))
	return err == nil
}
