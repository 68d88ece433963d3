package network

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
)

// defaultHomes is how many devices stand behind each simulator's hardware.
const defaultHomes = 8

// simulatedOwner is the name of an owner of device i behind a category's simulated hardware.
func simulatedOwner(c types.Category, i int) string { return fmt.Sprintf("%v-owner-%d", c, i) }

// simulatedOwners lists the owners of the first so many devices of each simulator.
func (n *Network) simulatedOwners(homes int) []string {
	var names []string
	for _, s := range n.cfg.Simulators {
		for i := range hardware(s, homes) {
			names = append(names, simulatedOwner(s.Category, i))
		}
	}
	return names
}

// hardware is how many devices a simulator brings up where so many are asked for.
func hardware(s role.Simulator, asked int) int {
	switch {
	case s.Start == nil:
		return 0
	case s.Most > 0:
		return min(asked, s.Most)
	}
	return asked
}

// startSimulators brings simulated hardware up, and makes the devices that stand behind it.
func (n *Network) startSimulators(ctx context.Context) error {
	if n.layout.Homes == 0 {
		return nil
	}
	for _, s := range n.cfg.Simulators {
		if s.Start == nil {
			continue
		}
		c := s.Category
		rules, err := n.rulesOf(ctx, c)
		if err != nil {
			return err
		}
		list, stop, err := s.Start(n.path("simulated", c.String()), hardware(s, n.layout.Homes), rules, n.log.With("part", "simulator", "category", c))
		if err != nil {
			return fmt.Errorf("network: simulate hardware of %v: %w", c, err)
		}
		n.stops = append(n.stops, stop)
		for i, hardware := range list {
			n.simulated = append(n.simulated, &device{
				name: hardware.Name, home: n.path("node", fmt.Sprintf("%v-%d", c, i)), owner: simulatedOwner(c, i), cell: hardware.Cell,
				settings: map[types.Category]json.RawMessage{c: hardware.Settings},
			})
		}
		if len(list) == 0 {
			continue // it has said why
		}
		text := fmt.Sprintf("%v: %d devices are added", c, len(list))
		if s.Simulates != "" {
			text += fmt.Sprintf("; their %s are simulated on ports of this machine", s.Simulates)
		}
		n.cfg.Progress(Step{Text: text, Done: true})
	}
	return nil
}

// rulesOf returns a category's own rules that are in force.
func (n *Network) rulesOf(ctx context.Context, c types.Category) ([]byte, error) {
	params, err := n.params(ctx)
	if err != nil {
		return nil, fmt.Errorf("network: rules of %v: %w", c, err)
	}
	for i := range params {
		if params[i].Category == c {
			return params[i].Rules, nil
		}
	}
	return nil, nil
}

// params returns the categories' parameters that are in force.
func (n *Network) params(ctx context.Context) ([]tally.Params, error) {
	head, err := n.Ledger().Head(ctx)
	if err != nil {
		return nil, err
	}
	epoch, err := n.Ledger().Epoch(ctx, head.Epoch)
	if err != nil {
		return nil, err
	}
	return epoch.Params, nil
}

// ensureOwners gives the owners of the devices behind simulated hardware credits and wallets at the gateway, so
// that they are customers of their category too: neighbours who buy from each other.
func (n *Network) ensureOwners(ctx context.Context) error {
	bought := make([]types.Credit, len(n.simulated))
	var group errgroup.Group
	for i, d := range n.simulated {
		group.Go(func() (err error) {
			var customer *Customer
			if customer, bought[i], err = n.ensureWallet(ctx, d.owner, d.home, d.name); err != nil {
				return fmt.Errorf("network: %s: %w", d.owner, err)
			}
			return n.spendable(ctx, d.owner, customer)
		})
	}
	err := group.Wait()
	bought = slices.DeleteFunc(bought, func(c types.Credit) bool { return c == 0 })
	if err == nil && len(bought) > 0 {
		n.cfg.Progress(Step{Text: fmt.Sprintf("%d owners of added devices bought $%d.%02d of credits each", len(bought), bought[0]/1e6, bought[0]%1e6/1e4), Done: true})
	}
	return err
}

// Simulated returns device i of those behind a category's simulated hardware.
func (n *Network) Simulated(c types.Category, i int) *node.Node {
	for _, d := range n.simulated {
		if _, ok := d.settings[c]; !ok {
			continue
		}
		if i == 0 {
			return d.engine
		}
		i--
	}
	return nil
}
