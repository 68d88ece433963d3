package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/all/provider"
	"github.com/cairn-network/cairn/service/role"
)

// cell is where the devices of a network on one machine say they are: central Zürich at resolution 9, as good a place as any.
const cell types.Cell = 0x891f8e0c2d7ffff

// claimEpochs is for how many epochs a new device's claim code can be used.
const claimEpochs = 8000

// providers are those of a device on one machine: whatever service/all lists, on a free port of the loopback address.
func providers(int) []role.Provider { return provider.Local() }

// startNodes makes the homes of devices that have none, registers those that the chain does not know, each by its own owner, and starts them
// all.
func (n *Network) startNodes(ctx context.Context) error {
	if _, err := n.invite(ctx); err != nil {
		return fmt.Errorf("network: tell devices how to join: %w", err)
	}
	for i := range n.layout.Nodes {
		if err := n.join(ctx, i); err != nil {
			return fmt.Errorf("network: node %d: %w", i, err)
		}
		n.nodes = append(n.nodes, new(part[*node.Node]))
		if err := n.StartNode(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// join gives node i a home and has its owner register it.
func (n *Network) join(ctx context.Context, i int) error {
	owner, err := n.Ledger().Lookup(ownerName(i))
	if err != nil {
		return err
	}
	home := n.nodeHome(i)
	settings, err := node.LoadSettings(home)
	if errors.Is(err, os.ErrNotExist) {
		if settings, err = n.settle(ctx, owner); err == nil {
			err = node.Init(home, *settings, nil)
		}
		if err == nil {
			settings, err = node.LoadSettings(home) // with what Init added
		}
	}
	if err != nil {
		return err
	}
	statement, err := settings.Claim(home)
	if err != nil {
		return err
	}
	device := statement.Statement.Device
	if _, err := n.Ledger().Device(ctx, device); !errors.Is(err, ledger.ErrNotFound) {
		return err // it is registered, or nobody knows
	}
	if err := n.fundOwner(ctx, owner); err != nil {
		return err
	}
	done, err := n.Ledger().Submit(ctx, owner, ledger.Register{Statement: *statement})
	if err != nil {
		return fmt.Errorf("register %v: %w", device, err)
	}
	n.cfg.Progress(Step{Text: fmt.Sprintf("device %d registered by %s in block %d: %v", i, ownerName(i), done.Height, device), Done: true})
	return nil
}

// fundOwner gives the owner of a node that was added later what the first ones had at genesis.
func (n *Network) fundOwner(ctx context.Context, owner types.Account) error {
	account, err := n.Ledger().Account(ctx, owner)
	if err == nil && account.Balance > 0 {
		return nil
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	from, err := n.Ledger().Lookup(communityName)
	if err != nil {
		return err
	}
	_, err = n.Ledger().Submit(ctx, from, ledger.Send{To: owner, Amount: ownerFunds})
	return err
}

// invite writes join.json: what a device elsewhere needs to take part (cairn-node init --join).
func (n *Network) invite(ctx context.Context) (node.Join, error) {
	var join node.Join
	head, err := n.Ledger().Head(ctx)
	if err != nil {
		return join, err
	}
	epoch, err := n.Ledger().Epoch(ctx, head.Epoch)
	if err != nil {
		return join, err
	}
	join = node.Join{Bus: []string{n.bus.URL()}, Pin: bus.Pin{Chain: n.layout.ChainID, Epoch: epoch.Epoch, Set: bus.SetOf(epoch.Verifiers)}}
	return join, writeJSON(n.path(joinFile), &join, 0o644)
}

// settle chooses the settings of a new device.
func (n *Network) settle(ctx context.Context, owner types.Account) (*node.Settings, error) {
	join, err := n.invite(ctx)
	if err != nil {
		return nil, err
	}
	s := &node.Settings{
		Join:   join,
		Owner:  owner,
		Cell:   cell,
		Expiry: join.Pin.Epoch + claimEpochs,
		Offers: map[string]node.Offers{},
	}
	for _, p := range n.cfg.Providers(0) {
		s.Offers[p.Category().String()] = json.RawMessage("{}")
	}
	return s, nil
}

// StartNode starts node i, which is stopped.
func (n *Network) StartNode(_ context.Context, i int) error {
	p := n.nodes[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	home := n.nodeHome(i)
	settings, err := node.LoadSettings(home)
	if err != nil {
		return fmt.Errorf("network: node %d: %w", i, err)
	}
	engine, err := node.New(node.Config{
		Home: home, Region: settings.Region, Owner: settings.Owner, Cell: settings.Cell, Pin: settings.Join.Pin, Dial: n.dial,
		Listen: "127.0.0.1:0",
	}, n.cfg.Providers(i), n.log.With("part", "node", "node", i))
	if err != nil {
		return fmt.Errorf("network: node %d: %w", i, err)
	}
	p.engine = engine
	p.stop = n.run(fmt.Sprintf("node %d", i), engine.Run, nil)
	return nil
}

// Node returns node i.
func (n *Network) Node(i int) *node.Node { return n.nodes[i].engine }

// Nodes is how many there are.
func (n *Network) Nodes() int { return len(n.nodes) }

// StopNode stops node i.
func (n *Network) StopNode(i int) { n.nodes[i].halt() }
