package ledger

import (
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// appeal opens a vote on a header: once per header, while its window is open.
func (m *Memory) appeal(s *state, from types.Account, msg Appeal) error {
	at := place{msg.Region, msg.Epoch}
	r, ok := s.headers[at]
	switch {
	case !ok || r.header == nil:
		return types.Refuse(types.WrongEpoch, "epoch %d has no header", msg.Epoch)
	case r.appealed:
		return types.Refuse(types.AppealKnown, "epoch %d", msg.Epoch)
	case r.Status != Accepted || m.next() > r.FinalAt:
		return types.Refuse(types.AppealClosed, "header of epoch %d is %s", msg.Epoch, r.Status)
	}
	if err := s.take(from, econ.AppealBond); err != nil {
		return err
	}
	s.books.appeals += econ.AppealBond
	r.appealed, r.bond, r.by, r.Status = true, econ.AppealBond, from, Appealed
	r.Voting = &Voting{Until: m.next() + m.cfg.Vote, Power: m.votingPower()}
	s.headers[at] = r
	return nil
}

// electorate are the verifiers of the current epoch: all power votes.
func (m *Memory) electorate() *Epoch { return m.epochs[m.epochOf(m.next()-1)] }

func (m *Memory) votingPower() uint64 { return m.electorate().Power() }

func (m *Memory) vote(s *state, msg Vote) error {
	at := place{msg.Region, msg.Epoch}
	r, ok := s.headers[at]
	if !ok || r.Voting == nil {
		return types.Refuse(types.AppealClosed, "no vote on the header of epoch %d", msg.Epoch)
	}
	var power uint64
	for _, v := range m.electorate().Verifiers {
		if v.Key == msg.Key {
			power = v.Power
		}
	}
	if power == 0 {
		return types.Refuse(types.UnknownVerifier, "%v has no vote", msg.Key)
	}
	if !msg.Key.Verify("vote", m.cfg.Chain, evidence.VoteBytes(r.Hash, msg.Yes), msg.Sig) {
		return types.Refuse(types.BadSignature, "vote of %v", msg.Key)
	}
	if slices.Contains(r.Voting.Voted, msg.Key) {
		return types.Refuse(types.AppealKnown, "%v has voted", msg.Key)
	}
	v := *r.Voting
	v.Voted = append(slices.Clone(v.Voted), msg.Key)
	if msg.Yes {
		v.Yes += power
	} else {
		v.No += power
	}
	r.Voting = &v
	s.headers[at] = r
	m.decide(s, at)
	return nil
}

// decide closes a vote that has more than two thirds on one side.
func (m *Memory) decide(s *state, at place) {
	r := s.headers[at]
	switch v := r.Voting; {
	case 3*v.Yes > 2*v.Power:
		s.books.appeals -= r.bond
		s.books.burned += r.bond
		r.Status, r.Voting, r.bond = Accepted, nil, 0
		s.headers[at] = r
	case 3*v.No > 2*v.Power:
		m.void(s, at)
	}
}

// tallyVotes repeats votes that ended without a decision, and jails who did not vote.
func (m *Memory) tallyVotes(s *state, height uint64) {
	for _, at := range slices.SortedFunc(maps.Keys(s.headers), place.compare) {
		r := s.headers[at]
		if r.Voting == nil || height < r.Voting.Until {
			continue
		}
		power := uint64(0)
		for _, v := range m.electorate().Verifiers {
			if val, ok := s.verifiers[v.Owner]; ok && v.Power > 0 && !slices.Contains(r.Voting.Voted, v.Key) {
				val.jailed = true
				s.verifiers[v.Owner] = val
				s.dirty.verifiers[v.Key] = v.Owner
				continue
			}
			power += v.Power
		}
		r.Voting = &Voting{Until: height + m.cfg.Vote, Power: power}
		s.headers[at] = r
	}
}

// void turns a header, and all of its region that were built on it, into skipped epochs.
func (m *Memory) void(s *state, from place) {
	appellant := s.headers[from].by
	keep := s.headers[from].Previous
	var slashed types.Ustone
	for at := from; at.epoch <= s.last[at.region]; at.epoch++ {
		r, ok := s.headers[at]
		if !ok || r.header == nil || r.Status == Voided {
			continue
		}
		if vault, burned, err := econ.Void(s.vault, r.allot); err == nil {
			s.books.pending -= r.allot.Total()
			s.books.burned += burned
			s.vault = vault
		}
		slashed += m.slashSigners(s, &r)
		if r.bond > 0 { // whoever appealed was right
			s.books.appeals -= r.bond
			s.balances[r.by] += r.bond
		}
		r.Status, r.Voting, r.bond = Voided, nil, 0
		s.headers[at] = r
	}
	s.balances[appellant] += slashed / 2
	s.books.burned += slashed - slashed/2
	s.last[from.region] = keep
}

// slashSigners takes from the stake of each signer of a voided header, and returns the sum.
func (m *Memory) slashSigners(s *state, r *record) types.Ustone {
	var signers uint64
	for i, v := range r.signers {
		if Signed(r.Bitmap, i) {
			signers += v.Power
		}
	}
	var sum types.Ustone
	for i, v := range r.signers {
		if Signed(r.Bitmap, i) {
			val := s.verifiers[v.Owner]
			sum += s.slash(v.Owner, econ.VoidSlash(val.stake, v.Power, signers, r.allot.Total()))
		}
	}
	return sum
}

// slash takes stake from a verifier.
func (s *state) slash(owner types.Account, amount types.Ustone) types.Ustone {
	v, ok := s.verifiers[owner]
	if !ok {
		return 0
	}
	amount = min(amount, v.stake)
	v.stake -= amount
	s.books.stake -= amount
	s.verifiers[owner] = v
	s.dirty.verifiers[v.Key] = owner
	return amount
}

// equivocationSlash divides the stake: 5 % is what two signed headers cost.
const equivocationSlash = 20

func (m *Memory) equivocation(s *state, msg Equivocation) error {
	a, err := tally.DecodeHeader(msg.A)
	if err != nil {
		return err
	}
	b, err := tally.DecodeHeader(msg.B)
	if err != nil {
		return err
	}
	if a.Hash() == b.Hash() || a.Epoch != b.Epoch || a.Region != b.Region || a.Round != b.Round || a.Chain != m.cfg.Chain || b.Chain != m.cfg.Chain {
		return types.Refuse(types.NoMisconduct, "two headers of %v", msg.Verifier)
	}
	ha, hb := a.Hash(), b.Hash()
	if !msg.Verifier.Verify("header", m.cfg.Chain, ha[:], msg.SigA) || !msg.Verifier.Verify("header", m.cfg.Chain, hb[:], msg.SigB) {
		return types.Refuse(types.BadSignature, "two headers of %v", msg.Verifier)
	}
	ep, ok := m.epochs[a.Epoch]
	if !ok {
		return types.Refuse(types.WrongEpoch, "headers of epoch %d", a.Epoch)
	}
	for _, seat := range ep.Verifiers {
		if seat.Key != msg.Verifier {
			continue
		}
		v := s.verifiers[seat.Owner]
		if v.tombstoned {
			return types.Refuse(types.NoMisconduct, "%v is tombstoned", msg.Verifier)
		}
		s.books.burned += s.slash(seat.Owner, v.stake/equivocationSlash)
		v = s.verifiers[seat.Owner]
		v.jailed, v.tombstoned = true, true
		s.verifiers[seat.Owner] = v
		return nil
	}
	return types.Refuse(types.UnknownVerifier, "%v in epoch %d", msg.Verifier, a.Epoch)
}

// missWindow is over how many headers presence is counted; missing half of them jails.
const missWindow = 100

// countMissed notes who did not sign all regions' headers of e, once no more signatures are taken.
func (m *Memory) countMissed(s *state, e types.Epoch) {
	var in []record
	for region := range m.regions() {
		if r, ok := s.headers[place{region, e}]; ok && r.header != nil && r.Status != Voided {
			in = append(in, r)
		}
	}
	if len(in) == 0 {
		return
	}
	for i, seat := range in[0].signers { // one epoch's seats are the same in all regions
		v, ok := s.verifiers[seat.Owner]
		if !ok || seat.Power == 0 {
			continue
		}
		missed := slices.ContainsFunc(in, func(r record) bool { return !Signed(r.Bitmap, i) })
		v.missed = append(slices.Clone(v.missed), missed)
		if len(v.missed) > missWindow {
			v.missed = v.missed[1:]
		}
		count := 0
		for _, missed := range v.missed {
			if missed {
				count++
			}
		}
		if count >= missWindow/2 {
			v.jailed, v.missed = true, nil
			s.dirty.verifiers[v.Key] = seat.Owner
		}
		s.verifiers[seat.Owner] = v
	}
}
