package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Submit implements Writer. Any account may be used: a Memory holds all keys.
func (m *Memory) Submit(ctx context.Context, from types.Account, msgs ...Msg) (*Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	trial := m.state.clone()
	for _, msg := range msgs {
		if err := m.apply(trial, from, msg); err != nil {
			return nil, fmt.Errorf("%T: %w", msg, err)
		}
	}
	m.state = trial
	height := m.next()
	hash := types.Sum(from[:], binary.BigEndian.AppendUint64(nil, height), types.Encode(len(msgs)))
	return &Receipt{Height: height, TxHash: hash.String()}, nil
}

func (m *Memory) apply(s *state, from types.Account, msg Msg) error {
	switch msg := msg.(type) {
	case Register:
		return m.register(s, from, msg)
	case Buy:
		return m.buy(s, from, msg)
	case GrantKey:
		return m.grant(s, from, msg)
	case SetVerifier:
		return m.setVerifier(s, from, msg)
	case Send:
		if err := s.take(from, msg.Amount); err != nil {
			return err
		}
		s.balances[msg.To] += msg.Amount
		return nil
	case SetFleet:
		return m.setFleet(s, from, msg)
	case Unbond:
		return m.unbond(s, from, msg)
	case Commit:
		return m.commit(s, msg)
	case AddSignatures:
		return m.addSignatures(s, msg)
	case Claims:
		return m.claims(s, msg)
	case Appeal:
		return m.appeal(s, from, msg)
	case Vote:
		return m.vote(s, msg)
	case Equivocation:
		return m.equivocation(s, msg)
	case ModuleMsg:
		name, _ := msg.Fields(from)
		module, err := s.module(name)
		if err != nil {
			return err
		}
		return module.Apply(asOf{m, s, m.next()}, from, msg)
	default:
		return fmt.Errorf("ledger: no message %T", msg)
	}
}

// take moves ustone out of an account.
func (s *state) take(a types.Account, amount types.Ustone) error {
	if s.balances[a] < amount {
		return types.Refuse(types.InsufficientFund, "%v holds %d ustone, %d are needed", a, s.balances[a], amount)
	}
	s.balances[a] -= amount
	return nil
}

func (m *Memory) register(s *state, from types.Account, msg Register) error {
	st := &msg.Statement.Statement
	signed, err := evidence.DecodeStatement(msg.Statement.Encode(), m.cfg.Chain)
	if err != nil {
		return err
	}
	if !signed.Verify() {
		return types.Refuse(types.BadSignature, "statement of %v", st.Device)
	}
	if st.Owner != from {
		return types.Refuse(types.NotOwner, "statement of %v is for %v", st.Device, st.Owner)
	}
	if st.Expiry < m.epochOf(m.next()) {
		return types.Refuse(types.StatementExpired, "statement of %v ended with epoch %d", st.Device, st.Expiry)
	}
	if _, ok := s.devices[st.Device]; ok {
		return types.Refuse(types.DeviceKnown, "%v", st.Device)
	}
	var need types.Ustone
	for _, c := range st.Categories {
		at, ok := slices.BinarySearchFunc(m.cfg.Params, c, func(p tally.Params, c types.Category) int { return int(p.Category) - int(c) })
		if !ok {
			return types.Refuse(types.UnknownCategory, "%v", c)
		}
		need += m.cfg.Params[at].Bond
	}
	if msg.Bond < need {
		return types.Refuse(types.BondLow, "%d ustone, %d are required", msg.Bond, need)
	}
	fee, err := econ.DeviceFee(&m.cfg.Econ, m.cfg.Price)
	if err != nil {
		return err
	}
	if err := s.take(from, msg.Bond+fee); err != nil {
		return err
	}
	s.books.burned += fee
	s.books.bonds += msg.Bond
	s.devices[st.Device] = device{Device: Device{Region: types.RegionOf(st.Cell, m.cfg.Regions), Device: tally.Device{
		Key: st.Device, Owner: from, Categories: st.Categories, Cell: st.Cell, Model: st.Model, Bond: msg.Bond,
	}}}
	s.dirty.devices[st.Device] = false
	return nil
}

func (m *Memory) buy(s *state, from types.Account, msg Buy) error {
	if msg.Region >= m.regions() {
		return types.Refuse(types.WrongRegion, "region %d of %d", msg.Region, m.cfg.Regions)
	}
	vault, p, err := econ.Buy(s.vault, &m.cfg.Econ, m.bid(s, msg.Amount, msg.Min))
	if err != nil {
		return err
	}
	if err := s.take(from, msg.Amount); err != nil {
		return err
	}
	s.vault = vault
	at := holder{from, msg.Region}
	s.holders[at] += p.Credits
	s.dirty.holders[at] = true
	return nil
}

// grant makes a session key of an account, or raises its limit or expiry.
func (m *Memory) grant(s *state, from types.Account, msg GrantKey) error {
	if !msg.Key.Verify("grant", m.cfg.Chain, evidence.GrantBytes(from), msg.Proof) {
		return types.Refuse(types.BadSignature, "grant: %v does not agree to serve %v", msg.Key, from)
	}
	if msg.Region >= m.regions() {
		return types.Refuse(types.WrongRegion, "region %d of %d", msg.Region, m.cfg.Regions)
	}
	if msg.Expiry < m.epochOf(m.next()) {
		return types.Refuse(types.KeyExpired, "grant: epoch %d is over", msg.Expiry)
	}
	if old, ok := s.grants[msg.Key]; ok {
		if old.Account != from {
			return types.Refuse(types.KeyTaken, "grant: %v serves %v", msg.Key, old.Account)
		}
		if old.Region != msg.Region {
			return types.Refuse(types.WrongRegion, "grant: %v spends in region %d", msg.Key, old.Region)
		}
		if old.Expiry < m.epochOf(m.next()) {
			return types.Refuse(types.KeyExpired, "grant: %v expired with epoch %d and is not granted again", msg.Key, old.Expiry)
		}
	}
	s.grants[msg.Key] = Grant{tally.Grant{Key: msg.Key, Account: from, Limit: msg.Limit, Expiry: msg.Expiry}, msg.Region}
	s.dirty.grants[msg.Key] = true
	return nil
}

func (m *Memory) setVerifier(s *state, from types.Account, msg SetVerifier) error {
	v, ok := s.verifiers[from]
	if !ok || v.tombstoned {
		return types.Refuse(types.UnknownVerifier, "%v is no validator", from)
	}
	proof := evidence.VerifierBytes(from, msg.Key, msg.VRF)
	if !msg.Key.Verify("verifier", m.cfg.Chain, proof, msg.KeyProof) || !msg.VRF.Verify("verifier", m.cfg.Chain, proof, msg.VRFProof) {
		return types.Refuse(types.BadSignature, "verifier keys of %v", from)
	}
	for _, k := range []types.Key{msg.Key, msg.VRF} {
		if owner, ok := s.taken[k]; ok && (owner != from || k != v.Key && k != v.VRF) {
			return types.Refuse(types.KeyTaken, "%v is or was a verifier's key", k)
		}
		s.taken[k] = from
	}
	s.dirty.verifiers[v.Key] = from
	v.Key, v.VRF = msg.Key, msg.VRF
	s.dirty.verifiers[v.Key] = from
	s.verifiers[from] = v
	return nil
}

func (m *Memory) setFleet(s *state, from types.Account, msg SetFleet) error {
	d, ok := s.devices[msg.Device]
	switch {
	case !ok:
		return types.Refuse(types.UnknownAuthor, "%v", msg.Device)
	case d.Owner != from:
		return types.Refuse(types.NotOwner, "%v is %v's", msg.Device, d.Owner)
	case d.unbonding != 0:
		return types.Refuse(types.UnknownAuthor, "%v has left the registry", msg.Device)
	}
	if err := fleet.Bound(&msg.Fleet); err != nil {
		return err
	}
	d.Fleet = msg.Fleet
	s.devices[msg.Device] = d
	s.dirty.devices[msg.Device] = false
	return nil
}

func (m *Memory) unbond(s *state, from types.Account, msg Unbond) error {
	d, ok := s.devices[msg.Device]
	if !ok || d.unbonding != 0 {
		return types.Refuse(types.UnknownAuthor, "%v", msg.Device)
	}
	if d.Owner != from {
		return types.Refuse(types.NotOwner, "%v is %v's", msg.Device, d.Owner)
	}
	d.unbonding = m.epochOf(m.next())
	s.devices[msg.Device] = d
	s.dirty.devices[msg.Device] = true
	return nil
}

// AddVerifier bonds a further validator with stake in STONE, minted for it; its keys act one appeal window
// after the next epoch begins.
func (m *Memory) AddVerifier(v tally.Attester) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stake := types.Ustone(v.Power) * stone
	m.state.verifiers[v.Owner] = validator{Attester: v, stake: stake}
	m.state.taken[v.Key], m.state.taken[v.VRF] = v.Owner, v.Owner
	m.state.books.stake += stake
	m.state.books.minted += stake
	m.state.dirty.verifiers[v.Key] = v.Owner
}

// Jail takes a verifier's power away, or gives it back: from the next epoch on. It reports whether there is
// such a verifier.
func (m *Memory) Jail(key types.Key, jailed bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for owner, v := range m.state.verifiers {
		if v.Key == key {
			v.jailed = jailed
			m.state.verifiers[owner] = v
			m.state.dirty.verifiers[key] = owner
			return true
		}
	}
	return false
}

// Jailed reports whether a verifier is jailed, and whether for good.
func (m *Memory) Jailed(key types.Key) (jailed, tombstoned bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.state.verifiers {
		if v.Key == key {
			return v.jailed, v.tombstoned
		}
	}
	return false, false
}
