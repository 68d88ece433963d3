package network

import (
	"context"
	"errors"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/ledger"
)

// trustBlocks is after how many blocks network.json and manifest.json name a newer one to go on from. The chain
// forgets old ones (localRetain), and nobody can go on from a block that no node has.
const trustBlocks = localRetain / 5

// keepTrust has network.json and manifest.json name a recent block, now and while the network runs.
func (n *Network) keepTrust(ctx context.Context) error {
	head, err := n.Ledger().Head(ctx)
	if err != nil {
		return err
	}
	if err := n.believe(ctx, head); err != nil {
		return err
	}
	running, cancel := context.WithCancel(n.ctx)
	done := make(chan struct{})
	n.trusting = func() { cancel(); <-done }
	go func() {
		defer close(done)
		last := head.Height
		for b := range n.Ledger().Watch(running) {
			if b.Height < last+trustBlocks || running.Err() != nil {
				continue
			}
			if err := n.believe(running, b); err != nil {
				n.log.Error("network.json and manifest.json name an old block", "err", err)
				continue
			}
			last = b.Height
		}
	}()
	return nil
}

// believe writes network.json and manifest.json with a block to go on from.
func (n *Network) believe(ctx context.Context, b ledger.Block) error {
	trust := pinOf(b)
	n.trust.Store(&trust)
	err := writeJSON(n.path(addressFile), n.Addresses(), 0o644)
	_, joins := n.publish(ctx)
	return errors.Join(err, joins)
}

// pinOf names a block as --trust takes it.
func pinOf(b ledger.Block) string { return client.Pin{Height: b.Height, Hash: b.Hash}.String() }
