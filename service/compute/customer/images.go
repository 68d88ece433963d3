package customer

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/registry"
	"github.com/cairn-network/cairn/service/compute/oci"
	"github.com/cairn-network/cairn/service/role"
)

// imagesListener is the name of the registry's address in network.json.
const imagesListener = "registry"

// openImages opens the registry. Its images take at most half of what inputs may.
func (c *Customer) openImages(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return types.Refuse(types.HomeUnwritable, "compute: %v", err)
	}
	cfg := registry.Config{All: c.cfg.Inputs / 2, Account: min(2<<30, max(c.cfg.Inputs/4, 1))}
	var err error
	if c.images, err = registry.Open(cfg, dir, c.inputs, c.log); err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	return nil
}

// listenImages opens the port to which images are pushed.
func (c *Customer) listenImages(p role.Place) (string, error) {
	l, at, err := p.Listen(c.market, imagesListener, conns.Limits{Total: 256, PerAddress: 32})
	if err != nil {
		return "", fmt.Errorf("compute: %w", err)
	}
	c.pushes = l
	return at, nil
}

// serveImages serves the registry until ctx ends.
func (c *Customer) serveImages(ctx context.Context) {
	err := c.images.Serve(ctx, c.pushes, func(r *http.Request) (types.Account, error) {
		w, err := c.market.Wallet(r)
		if err != nil {
			return types.Account{}, err
		}
		return w.Account(), nil
	})
	if err != nil {
		c.log.Error("compute: registry", "err", err)
	}
}

// image pins what an image of an account is made of, and returns its manifest.
func (c *Customer) image(account types.Account, ref string, p *pins) (types.Hash, error) {
	found, err := c.images.Find(account, ref)
	if err != nil {
		return types.Hash{}, err
	}
	for _, part := range append([]oci.Part{found.Manifest}, found.Parts...) {
		if _, _, err := p.add(part.Hash.String()); err != nil {
			return types.Hash{}, err
		}
	}
	return found.Manifest.Hash, nil
}

// code pins what a job runs, and looks at it once.
func (c *Customer) code(account types.Account, class types.Class, a *Submit, p *pins) (types.Hash, error) {
	if class == compute.OCI {
		if a.Code != "" || a.Image == "" {
			return types.Hash{}, types.Refuse(role.BadRequest, "compute: a container's job names an image, and no code")
		}
		return c.image(account, a.Image, p)
	}
	code, _, err := p.add(a.Code)
	if err == nil && class == compute.Wasm {
		err = c.modules.check(account, code, c.inputs)
	}
	return code, err
}
