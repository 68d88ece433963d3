package ledger

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Chain implements Reader.
func (m *Memory) Chain() string { return m.cfg.Chain }

// Head implements Reader.
func (m *Memory) Head(context.Context) (Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocks[len(m.blocks)-1], nil
}

// Block implements Reader.
func (m *Memory) Block(_ context.Context, height uint64) (Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if height == 0 || height > uint64(len(m.blocks)) {
		return Block{}, fmt.Errorf("block %d: %w", height, ErrNotFound)
	}
	return m.blocks[height-1], nil
}

// Hashes implements Reader.
func (m *Memory) Hashes(_ context.Context, from, to uint64) ([]tally.BlockHash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from == 0 || from > to || to > uint64(len(m.blocks)) {
		return nil, fmt.Errorf("hashes of blocks %d to %d of %d: %w", from, to, len(m.blocks), ErrNotFound)
	}
	out := make([]tally.BlockHash, 0, to-from+1)
	for _, b := range m.blocks[from-1 : to] {
		out = append(out, tally.BlockHash{Height: b.Height, Hash: b.Hash})
	}
	return out, nil
}

// Watch implements Reader.
func (m *Memory) Watch(ctx context.Context) <-chan Block { return m.newest.Watch(ctx) }

// Epoch implements Reader.
func (m *Memory) Epoch(_ context.Context, e types.Epoch) (*Epoch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ep, ok := m.epochs[e]
	if !ok || ep.Time.IsZero() {
		return nil, fmt.Errorf("epoch %d: %w", e, ErrNotFound)
	}
	out := *ep
	out.Seed = m.state.seeds[e]
	out.Challenged = m.state.challenged(e)
	return &out, nil
}

// challenged reports whether challenges of e bind: its seed was known early enough to answer them.
func (s *state) challenged(e types.Epoch) bool {
	if e == 1 {
		return true
	}
	for region := range s.last {
		if r, ok := s.headers[place{types.Region(region), e - 1}]; !ok || r.round == Rounds-1 || r.Raw == nil {
			return false
		}
	}
	return true
}

// Changes implements Reader.
func (m *Memory) Changes(_ context.Context, e types.Epoch, region types.Region) ([]tally.Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ep, ok := m.epochs[e]; !ok || ep.Time.IsZero() || region >= m.regions() {
		return nil, fmt.Errorf("registry changes of epoch %d, region %d: %w", e, region, ErrNotFound)
	}
	return slices.Clone(m.changes[e][region]), nil
}

// Header implements Reader.
func (m *Memory) Header(_ context.Context, e types.Epoch, region types.Region) (*Header, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ep, ok := m.epochs[e]
	if !ok || ep.Time.IsZero() || region >= m.regions() {
		return nil, fmt.Errorf("header of epoch %d, region %d: %w", e, region, ErrNotFound)
	}
	return m.state.header(place{region, e}), nil
}

func (s *state) header(at place) *Header {
	r, ok := s.headers[at]
	if !ok {
		return &Header{Epoch: at.epoch, Region: at.region, Status: Open}
	}
	out := r.Header
	return &out
}

// Headers implements Reader.
func (m *Memory) Headers(_ context.Context, region types.Region, limit int) ([]*Header, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Header
	for e := m.blocks[len(m.blocks)-1].Epoch; e > 0 && len(out) < min(limit, 1000); e-- {
		at := place{region, e}
		if _, ok := m.state.headers[at]; ok {
			out = append(out, m.state.header(at))
		}
	}
	return out, nil
}

// Settlement implements Reader.
func (m *Memory) Settlement(_ context.Context, e types.Epoch) (*tally.Settlement, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.state.settled[e]
	if !ok {
		return nil, fmt.Errorf("settlement of epoch %d: %w", e, ErrNotFound)
	}
	return &s, nil
}

// Devices implements Reader.
func (m *Memory) Devices(context.Context) ([]Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Device
	for _, k := range slices.SortedFunc(maps.Keys(m.state.devices), compareKeys) {
		out = append(out, m.state.devices[k].Device)
	}
	return out, nil
}

// DevicesOf implements Reader, in pages of 2.
func (m *Memory) DevicesOf(_ context.Context, owner types.Account, from []byte) (list []Device, next []byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(m.state.devices), compareKeys) {
		if d := m.state.devices[k].Device; d.Owner == owner && bytes.Compare(k[:], from) >= 0 {
			if len(list) == 2 {
				return list, k[:], nil
			}
			list = append(list, d)
		}
	}
	return list, nil, nil
}

// DevicesByKey implements Reader.
func (m *Memory) DevicesByKey(_ context.Context, keys []types.Key) (list []Device, err error) {
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("ledger: %d devices, at most %d are looked up at once", len(keys), MaxKeys)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if d, ok := m.state.devices[k]; ok {
			list = append(list, d.Device)
		}
	}
	return list, nil
}

// Device implements Reader.
func (m *Memory) Device(_ context.Context, key types.Key) (*Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.state.devices[key]
	if !ok {
		return nil, fmt.Errorf("device %v: %w", key, ErrNotFound)
	}
	out := d.Device
	return &out, nil
}

// Grant implements Reader.
func (m *Memory) Grant(_ context.Context, key types.Key) (*Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.state.grants[key]
	if !ok {
		return nil, fmt.Errorf("grant of %v: %w", key, ErrNotFound)
	}
	return &g, nil
}

// Verifier implements Reader.
func (m *Memory) Verifier(_ context.Context, key types.Key) (*tally.Attester, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.state.verifiers {
		if v.Key == key {
			a := v.Attester
			a.Power = v.power()
			return &a, nil
		}
	}
	return nil, fmt.Errorf("verifier %v: %w", key, ErrNotFound)
}

// Account implements Reader.
func (m *Memory) Account(_ context.Context, a types.Account) (*Account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &Account{Account: a, Balance: m.state.balances[a]}
	for region := range m.regions() {
		if bought := m.state.holders[holder{a, region}]; bought > 0 {
			out.Bought += bought
			out.Holdings = append(out.Holdings, Holding{region, bought})
		}
	}
	return out, nil
}

// Claimed implements Reader.
func (m *Memory) Claimed(_ context.Context, device types.Key) (types.Ustone, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.claimed[device], nil
}

// Quote implements Reader.
func (m *Memory) Quote(_ context.Context, amount types.Ustone) (types.Credit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := econ.Quote(&m.state.vault, &m.cfg.Econ, m.bid(m.state, amount, 0))
	return p.Credits, err
}

// bid is a purchase at the fixed price.
func (m *Memory) bid(s *state, amount types.Ustone, least types.Credit) econ.Bid {
	return econ.Bid{
		Stone: amount, Least: least, Supply: s.books.supply(),
		Day: econ.DayOf(m.epochOf(m.next())), Band: econ.Fixed(m.cfg.Price),
	}
}

// supply is what the bank should hold in all.
func (b *books) supply() types.Ustone { return b.genesis + b.minted - b.burned }

// Supply implements Reader.
func (m *Memory) Supply(context.Context) (*Supply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, b := m.state, m.state.books
	out := &Supply{
		Genesis: b.genesis, Minted: b.minted, Burned: b.burned, Vault: s.vault.Stone,
		Escrow: b.pending + b.matured + b.dust, Bonds: b.bonds, Claimed: b.paid, Bought: s.vault.Bought,
	}
	var held types.Ustone
	for _, x := range s.balances {
		held += x
	}
	var bonds types.Ustone
	for _, d := range s.devices {
		bonds += d.Bond
	}
	var claimed types.Ustone
	for _, c := range s.claimed {
		claimed += c
	}
	var bought types.Credit
	for _, c := range s.holders {
		bought += c
	}
	out.Supply = held + out.Vault + out.Escrow + out.Bonds + b.appeals + b.stake + b.community + b.security
	pending := b.pending
	for region := range m.regions() {
		var spent types.Credit
		var amount types.Ustone
		for e := types.Epoch(1); e <= m.blocks[len(m.blocks)-1].Epoch; e++ {
			r, ok := s.headers[place{region, e}]
			if !ok || r.header == nil || r.Status == Voided {
				continue
			}
			spent = r.header.Totals.Spent
			var paid types.Credit
			for _, c := range r.header.Totals.Categories {
				paid += c.Paid
			}
			if paid != spent {
				out.Faults = append(out.Faults, fmt.Sprintf("epoch %d, region %d: paid %d, spent %d", e, region, paid, spent))
			}
			if r.Status == Final {
				amount = r.header.Totals.Amount
			} else {
				pending -= r.allot.Total()
			}
		}
		if sold := s.sold(region); spent > sold {
			out.Faults = append(out.Faults, fmt.Sprintf("region %d: spent %d, sold %d", region, spent, sold))
		}
		out.Spent += spent
		out.Amount += amount
	}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			out.Faults = append(out.Faults, fmt.Sprintf(format, args...))
		}
	}
	check(out.Supply == b.supply(), "accounts hold %d, genesis + minted - burned is %d", out.Supply, b.supply())
	check(bonds == b.bonds, "devices' bonds are %d, the account holds %d", bonds, b.bonds)
	check(pending == 0, "escrow before finality holds %d more than its headers", pending)
	check(claimed == b.paid, "claims sum to %d, paid out were %d", claimed, b.paid)
	check(out.Amount >= b.paid && out.Amount-b.paid <= b.matured, "final amounts %d, claimed %d, claimable escrow %d", out.Amount, b.paid, b.matured)
	check(bought == s.vault.Bought && out.Spent <= bought, "holders bought %d, the vault sold %d, spent %d", bought, s.vault.Bought, out.Spent)
	out.Balanced = len(out.Faults) == 0
	return out, nil
}
