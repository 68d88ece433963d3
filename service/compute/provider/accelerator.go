package provider

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/provider/card"
	"github.com/cairn-network/cairn/service/role"
)

// startCard returns what starts the program of a card, by its number in the settings: it lies beside this
// program. It is nil for none.
func startCard(number string) (func() (*card.Card, error), error) {
	if number == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(number, 10, 8); err != nil || strconv.FormatUint(n, 10) != number {
		return nil, fmt.Errorf("compute: settings: card: %.20q, want the number of a card, counted from 0", number)
	}
	return func() (*card.Card, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("compute: card: %w", err)
		}
		return card.Start(func() *exec.Cmd {
			cmd := exec.Command(filepath.Join(filepath.Dir(self), card.Program), number)
			cmd.Dir = "/"
			return cmd
		})
	}, nil
}

// readyCard starts the card, ahead of the first check. Without it the device goes on as a processor.
func (d *device) readyCard() {
	if d.cfg.Card == nil {
		return
	}
	d.work.Go(func() {
		c, err := d.cfg.Card()
		if err != nil {
			d.log.Error("compute: the card cannot be used", "err", err)
			d.provider.remark("card", role.Remark{
				Reason: compute.ClassMismatch, Text: fmt.Sprintf("the graphics card cannot be used: %v", err),
				Try: "Look whether nvidia-smi shows it, and start the device again; `cairn-card 0` says the same at once.",
			})
			return
		}
		d.log.Info("compute: checks are computed on a card", "name", c.Hello().Name, "free_bytes", c.Hello().Memory)
		d.card.Store(c)
		<-d.ctx.Done()
		d.card.Store(nil)
		c.Close()
	})
}

// product computes a round of accelerators, and returns the tree over its rows: on the card, if there is one.
func (d *device) product(seed types.Hash, n int) (*merkle.Tree, error) {
	c := d.card.Load()
	if c == nil {
		return d.cfg.product(seed, n).Tree(), nil
	}
	leaves, _, err := c.Compute(seed, n)
	if err != nil {
		return nil, fmt.Errorf("compute: %w", err)
	}
	return merkle.NewTree(leaves), nil
}

// rows returns rows of a round as they are shown.
func (d *device) rows(seed types.Hash, n int, which []uint32) ([][]byte, error) {
	list := make([]int, len(which))
	for i, row := range which {
		if int(row) >= n {
			return nil, types.Refuse(types.BadEncoding, "compute: row %d of %d", row, n)
		}
		list[i] = int(row)
	}
	if c := d.card.Load(); c != nil {
		if _, shown, err := c.Compute(seed, n, list...); err == nil {
			return shown, nil
		}
	}
	shown := make([][]byte, len(list))
	for i, row := range list {
		if d.ctx.Err() != nil {
			return nil, d.ctx.Err()
		}
		shown[i] = d.cfg.row(seed, n, row)
	}
	return shown, nil
}
