package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
)

// cell is where the devices of a network on one machine say they are: in the valley of the Rhine at 47.22° N,
// 9.50° E, as good a place as any.
const cell types.Cell = 0x891f8e0c2d7ffff

// claimEpochs is for how many epochs a new device's claim code can be used.
const claimEpochs = 8000

// device is one of the network's: where it lives, whose it is, and what it provides.
type device struct {
	part[*node.Node]
	name     string // for people: "device 3"
	home     string
	owner    string // in the keyring
	cell     types.Cell
	settings map[types.Category]json.RawMessage
	bend     func(honest role.Provider) role.Provider // nil: it is honest
}

// ordinary returns node i: it provides what every device can.
func (n *Network) ordinary(i int) *device {
	d := &device{name: fmt.Sprintf("device %d", i), home: n.nodeHome(i), owner: ownerName(i), cell: cell, settings: map[types.Category]json.RawMessage{}}
	for _, s := range n.cfg.Simulators {
		if s.Provides != nil {
			d.settings[s.Category] = s.Provides
		}
	}
	if n.cfg.Bend != nil {
		d.bend = func(p role.Provider) role.Provider { return n.cfg.Bend(i, p) }
	}
	return d
}

// providers makes what a device provides.
func (n *Network) providers(d *device) (list []role.Provider, err error) {
	for _, of := range n.cfg.Devices {
		settings, ok := d.settings[of.Category]
		if !ok {
			continue
		}
		p, err := of.New(settings)
		if err != nil {
			return nil, err
		}
		if d.bend != nil {
			p = d.bend(p)
		}
		list = append(list, p)
	}
	if len(list) != len(d.settings) {
		return nil, fmt.Errorf("it offers %d categories, and %d can be provided", len(d.settings), len(list))
	}
	return list, nil
}

// startNodes makes the homes of devices that have none, registers those that the chain does not know, each by
// its own owner, and starts them all.
func (n *Network) startNodes(ctx context.Context) error {
	for i := range n.layout.Nodes {
		n.nodes = append(n.nodes, n.ordinary(i))
	}
	if err := n.startSimulators(ctx); err != nil {
		return err
	}
	joins, err := n.publish(ctx)
	if err != nil {
		return fmt.Errorf("network: tell devices how to join: %w", err)
	}
	devices := n.devices()
	news := make([]string, len(devices))
	var group errgroup.Group
	group.SetLimit(8)
	for i, d := range devices {
		group.Go(func() (err error) {
			if news[i], err = n.join(ctx, d, joins); err != nil {
				err = fmt.Errorf("network: %s: %w", d.name, err)
			}
			return err
		})
	}
	err = group.Wait()
	for _, text := range news {
		if text != "" {
			n.cfg.Progress(Step{Text: text, Done: true})
		}
	}
	if err != nil {
		return err
	}
	for _, d := range devices {
		if err := n.startDevice(d); err != nil {
			return err
		}
	}
	return nil
}

// devices returns all there are.
func (n *Network) devices() []*device {
	all := append([]*device(nil), n.nodes...)
	return append(all, n.simulated...)
}

// join gives a device a home and has its owner register it, which is then told.
func (n *Network) join(ctx context.Context, d *device, joins *manifest.Signed) (text string, err error) {
	owner, err := n.Ledger().Lookup(d.owner)
	if err != nil {
		return "", err
	}
	settings, err := n.settle(d, owner, joins)
	if err != nil {
		return "", err
	}
	statement, err := settings.Claim(d.home, n.layout.ChainID)
	if err != nil {
		return "", err
	}
	key := statement.Statement.Device
	if _, err := n.Ledger().Device(ctx, key); !errors.Is(err, ledger.ErrNotFound) {
		return "", err // it is registered, or nobody knows
	}
	if err := n.fundOwner(ctx, owner); err != nil {
		return "", err
	}
	params, err := n.params(ctx)
	if err != nil {
		return "", err
	}
	bond := types.Ustone(0)
	for i := range params {
		if _, ok := d.settings[params[i].Category]; ok {
			bond += params[i].Bond
		}
	}
	done, err := n.Ledger().Submit(ctx, owner, ledger.Register{Statement: *statement, Bond: bond})
	if err != nil {
		return "", fmt.Errorf("register %v: %w", key, err)
	}
	return fmt.Sprintf("%s registered by %s in block %d: %v", d.name, d.owner, done.Height, key), nil
}

// settle makes the device's home, or reads it. Where what it can offer is not what it offers, since hardware
// has another address now, the settings are written anew.
func (n *Network) settle(d *device, owner types.Account, joins *manifest.Signed) (*node.Settings, error) {
	if err := manifest.Keep(d.home, joins, joins.Signer); err != nil && types.ReasonOf(err) != types.StaleManifest {
		return nil, err
	}
	settings, docs := map[string]json.RawMessage{}, map[string]any{}
	for c, one := range d.settings {
		settings[c.String()] = one
	}
	for _, of := range n.cfg.Devices {
		docs[of.Category.String()] = of.Settings
	}
	s, err := node.LoadSettings(d.home)
	switch {
	case errors.Is(err, os.ErrNotExist), types.ReasonOf(err) == types.HomeFormat, err == nil && s.Owner.IsZero(): // none, of an earlier version, or cut short
		s = &node.Settings{Owner: owner, Cell: d.cell, Region: types.RegionOf(d.cell, n.layout.Regions), Expiry: joins.Manifest.Epoch + claimEpochs}
	case err != nil:
		return nil, err
	case sameSettings(s.Categories, settings):
		return s, nil
	}
	s.Categories = settings
	if err := node.Init(d.home, *s, docs); err != nil {
		return nil, err
	}
	return node.LoadSettings(d.home) // with what Init added
}

// sameSettings reports whether a home's sections say what is offered.
func sameSettings(have, want map[string]json.RawMessage) bool {
	if len(have) != len(want) {
		return false
	}
	for name, one := range want {
		var a, b any
		if json.Unmarshal(have[name], &a) != nil || json.Unmarshal(one, &b) != nil || !reflect.DeepEqual(a, b) {
			return false
		}
	}
	return true
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

// startDevice starts a device, which is stopped.
func (n *Network) startDevice(d *device) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	settings, err := node.LoadSettings(d.home)
	if err != nil {
		return fmt.Errorf("network: %s: %w", d.name, err)
	}
	providers, err := n.providers(d)
	if err != nil {
		return fmt.Errorf("network: %s: %w", d.name, err)
	}
	joined, err := manifest.Load(d.home)
	if err != nil {
		return fmt.Errorf("network: %s: %w", d.name, err)
	}
	pin, err := joined.Manifest.Pin(settings.Region)
	if err != nil {
		return fmt.Errorf("network: %s: %w", d.name, err)
	}
	engine, err := node.New(node.Config{
		Home: d.home, Owner: settings.Owner, Cell: settings.Cell, Pin: pin, Dial: n.dial,
		Listen: "127.0.0.1:0", NewFolders: n.cfg.NewFolders,
	}, providers, n.log.With("part", "node", "node", d.name))
	if err != nil {
		return fmt.Errorf("network: %s: %w", d.name, err)
	}
	d.engine = engine
	d.stop = n.run(d.name, engine.Run, nil)
	return nil
}

// StartNode starts node i, which is stopped.
func (n *Network) StartNode(_ context.Context, i int) error { return n.startDevice(n.nodes[i]) }

// Node returns node i.
func (n *Network) Node(i int) *node.Node { return n.nodes[i].engine }

// Nodes is how many there are, without those behind simulated hardware.
func (n *Network) Nodes() int { return len(n.nodes) }

// StopNode stops node i.
func (n *Network) StopNode(i int) { n.nodes[i].halt() }
