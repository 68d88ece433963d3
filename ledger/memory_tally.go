package ledger

import (
	"slices"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// record is what the chain keeps of one epoch's tally: a header, or that the region skipped.
type record struct {
	Header
	header   *tally.Header // decoded; read-only
	round    uint8
	output   [64]byte         // of the leader's VRF
	allot    econ.Allotment   // what its settlement put into escrow; zero before and after
	signers  []tally.Attester // seats of the epoch, beside Bitmap
	appealed bool             // once is all
	bond     types.Ustone     // of the open appeal
	by       types.Account    // the appellant
}

// commit takes a header: everything that it checks costs the same for any number of devices.
func (m *Memory) commit(s *state, msg Commit) error {
	h, err := tally.DecodeHeader(msg.Header)
	if err != nil {
		return err
	}
	if h.Chain != m.cfg.Chain {
		return types.Refuse(types.WrongChain, "header of chain %.50q", h.Chain)
	}
	ep, ok := m.epochs[h.Epoch]
	if h.Region >= m.regions() {
		return types.Refuse(types.WrongRegion, "header of region %d", h.Region)
	}
	if !ok {
		return types.Refuse(types.WrongEpoch, "header of epoch %d", h.Epoch)
	}
	at := place{h.Region, h.Epoch}
	if _, ok := s.headers[at]; ok {
		return types.Refuse(types.HeaderKnown, "epoch %d, region %d", h.Epoch, h.Region)
	}
	if round, ok := ep.RoundAt(m.next()); !ok || round != h.Round {
		return types.Refuse(types.HeaderRound, "header of epoch %d, round %d, in block %d", h.Epoch, h.Round, m.next())
	}
	out, err := m.checkLeader(s, ep, h)
	if err != nil {
		return err
	}
	if err := m.checkTotals(s, h); err != nil {
		return err
	}
	hash := h.Hash()
	bitmap := make([]byte, (len(ep.Verifiers)+7)/8)
	bitmap, power, err := m.sign(ep, hash, bitmap, msg.Bitmap, msg.Signatures)
	if err != nil {
		return err
	}
	if !ep.Enough(power) {
		return types.Refuse(types.LowPower, "header of epoch %d: %d of %d signed", h.Epoch, power, ep.Power())
	}
	s.headers[at] = record{
		Header: Header{
			Epoch: h.Epoch, Region: h.Region, Status: Accepted, Raw: slices.Clone(msg.Header), Hash: hash,
			Height: m.next(), Signed: power, Bitmap: bitmap, FinalAt: m.next() + uint64(m.cfg.Window)*m.cfg.Blocks, Previous: s.last[h.Region],
		},
		header: h, round: h.Round, output: out, signers: ep.Verifiers,
	}
	s.last[h.Region] = h.Epoch
	m.done(s, h.Epoch)
	return nil
}

// checkLeader returns the VRF output of the header's leader, if it was drawn for the round.
func (m *Memory) checkLeader(s *state, ep *Epoch, h *tally.Header) (out [64]byte, err error) {
	if h.Rules != ep.Rules {
		return out, types.Refuse(types.HeaderLink, "header under rules %d, want %d", h.Rules, ep.Rules)
	}
	if leader, ok := ep.Leader(h.Region, h.Round); !ok || leader != h.Leader {
		return out, types.Refuse(types.HeaderLeader, "round %d of epoch %d is not %v's", h.Round, h.Epoch, h.Leader)
	}
	for _, v := range ep.Verifiers {
		if v.Key == h.Leader {
			if out, err = beacon.Output(v.VRF, m.cfg.Chain, s.seeds[h.Epoch], h.Region, h.VRF); err != nil {
				return out, types.Refuse(types.HeaderLeader, "%v", err)
			}
		}
	}
	var last types.Hash
	if r, ok := s.tip(h.Region); ok {
		last = r.Hash
	}
	if h.Previous != last {
		return out, types.Refuse(types.HeaderLink, "header of epoch %d follows %s, the region's last is %s", h.Epoch, h.Previous, last)
	}
	return out, nil
}

// tip returns a region's newest header that was not voided.
func (s *state) tip(region types.Region) (record, bool) {
	r, ok := s.headers[place{region, s.last[region]}]
	return r, ok
}

// checkTotals holds the header against the region's last one and what that was allotted.
func (m *Memory) checkTotals(s *state, h *tally.Header) error {
	refuse := func(what string, got, want uint64) error {
		return types.Refuse(types.HeaderTotals, "header of epoch %d: %s: %d, limit %d", h.Epoch, what, got, want)
	}
	last, _ := s.tip(h.Region)
	var before tally.Totals
	if last.header != nil {
		before = last.header.Totals
	}
	t := &h.Totals
	if uint64(t.Amount) != h.Devices.Sum {
		return refuse("amount and the tree's sum", uint64(t.Amount), h.Devices.Sum)
	}
	var paid types.Credit
	for i, c := range t.Categories {
		if i > 0 && c.Category <= t.Categories[i-1].Category {
			return refuse("order of categories", uint64(c.Category), uint64(t.Categories[i-1].Category))
		}
		if paid += c.Paid; paid < c.Paid {
			return refuse("paid leaves 64 bits", uint64(c.Paid), 0)
		}
	}
	if paid != t.Spent {
		return refuse("paid and spent", uint64(paid), uint64(t.Spent))
	}
	if sold := s.sold(h.Region); t.Spent > sold {
		return refuse("spent and bought", uint64(t.Spent), uint64(sold))
	}
	if t.Settled > t.Spent {
		return refuse("settled and spent", uint64(t.Settled), uint64(t.Spent))
	}
	for _, c := range before.Categories {
		if now := paidOf(t, c.Category); now < c.Paid {
			return refuse("paid fell", uint64(now), uint64(c.Paid))
		}
	}
	if t.Amount < before.Amount || t.Settled < before.Settled || t.Penalty < before.Penalty {
		return refuse("a total fell", uint64(t.Amount), uint64(before.Amount))
	}
	if t.Amount-before.Amount > last.allot.Devices() {
		return refuse("amount grew beyond the allotment", uint64(t.Amount-before.Amount), uint64(last.allot.Devices()))
	}
	if t.Settled-before.Settled > last.allot.Settled {
		return refuse("settled grew beyond the settlement", uint64(t.Settled-before.Settled), uint64(last.allot.Settled))
	}
	return nil
}

// sold is what all accounts have bought in a region, ever.
func (s *state) sold(region types.Region) (sum types.Credit) {
	for h, c := range s.holders {
		if h.region == region {
			sum += c
		}
	}
	return sum
}

func paidOf(t *tally.Totals, k types.Category) types.Credit {
	for _, c := range t.Categories {
		if c.Category == k {
			return c.Paid
		}
	}
	return 0
}

// sign checks the signatures that more lists over a header and returns have with them, and the power of both
// together.
func (m *Memory) sign(ep *Epoch, hash types.Hash, have, more []byte, sigs []types.Signature) ([]byte, uint64, error) {
	if len(more) != len(have) {
		return nil, 0, types.Refuse(types.BadEncoding, "a bitmap of %d bytes for %d verifiers", len(more), len(ep.Verifiers))
	}
	out := slices.Clone(have)
	var power uint64
	for i, v := range ep.Verifiers {
		if Signed(more, i) {
			if len(sigs) == 0 || !v.Key.Verify("header", m.cfg.Chain, hash[:], sigs[0]) {
				return nil, 0, types.Refuse(types.BadSignature, "%v does not sign header %s", v.Key, hash)
			}
			sigs = sigs[1:]
			out[i/8] |= 1 << (i % 8)
		}
		if Signed(out, i) {
			power += v.Power
		}
	}
	if len(sigs) != 0 {
		return nil, 0, types.Refuse(types.BadEncoding, "%d signatures more than the bitmap lists", len(sigs))
	}
	return out, power, nil
}

// Signed reports whether bit i of a bitmap is set.
func Signed(bitmap []byte, i int) bool { return i/8 < len(bitmap) && bitmap[i/8]>>(i%8)&1 == 1 }

func (m *Memory) addSignatures(s *state, msg AddSignatures) error {
	at := place{msg.Region, msg.Epoch}
	r, ok := s.headers[at]
	if !ok || r.header == nil {
		return types.Refuse(types.WrongEpoch, "epoch %d has no header", msg.Epoch)
	}
	if r.Status != Accepted || m.next() > m.epochs[msg.Epoch].Cut+m.cfg.Blocks {
		return types.Refuse(types.HeaderRound, "epoch %d takes no more signatures", msg.Epoch)
	}
	var err error
	r.Bitmap, r.Signed, err = m.sign(m.epochs[msg.Epoch], r.Hash, r.Bitmap, msg.Bitmap, msg.Signatures)
	s.headers[at] = r
	return err
}

// skip closes an epoch that had no header in four rounds.
func (m *Memory) skip(s *state, at place) {
	s.headers[at] = record{Header: Header{Epoch: at.epoch, Region: at.region, Status: Skipped, Height: m.next(), Previous: s.last[at.region]}}
	m.done(s, at.epoch)
}

// done draws the next seed and settles e, once every region is in or has skipped.
func (m *Memory) done(s *state, e types.Epoch) {
	var in []record
	var outputs [][64]byte
	for region := range m.regions() {
		r, ok := s.headers[place{region, e}]
		if !ok {
			return
		}
		if r.header != nil {
			in, outputs = append(in, r), append(outputs, r.output)
		}
	}
	s.seeds[e+1] = beacon.Next(s.seeds[e], outputs)
	s.settled[e] = tally.Settlement{}
	m.settle(s, e, in)
}

// part is one region's part of a settlement.
type part struct {
	record
	owed    types.Credit
	weights []econ.Weight
}

// sum returns what each region's header says, and all of them together: what is owed, what was newly paid, and
// the weights.
func (s *state) sum(in []record) (parts []part, owed types.Credit, paid []econ.Paid, weights []econ.Weight) {
	for _, r := range in {
		x := part{record: r, owed: r.header.Totals.Spent - r.header.Totals.Settled}
		owed += x.owed
		last := s.headers[place{r.Region, r.Previous}]
		for _, c := range r.header.Totals.Categories {
			grown := c.Paid
			if last.header != nil {
				grown -= paidOf(&last.header.Totals, c.Category)
			}
			w := econ.Weight{Category: c.Category, Weight: c.Weight}
			x.weights = append(x.weights, w)
			at, ok := slices.BinarySearchFunc(weights, c.Category, func(w econ.Weight, k types.Category) int { return int(w.Category) - int(k) })
			if !ok {
				weights = slices.Insert(weights, at, w)
				paid = slices.Insert(paid, at, econ.Paid{Category: c.Category, Amount: grown})
				continue
			}
			paid[at].Amount += grown
			weights[at].Weight, _ = weights[at].Weight.Add(c.Weight) // of bonded devices: far below 2¹²⁸
		}
		parts = append(parts, x)
	}
	return parts, owed, paid, weights
}

// settle turns the totals of epoch e into amounts, and puts each region's part into escrow. A computation that
// leaves its range settles nothing: the chain runs on.
func (m *Memory) settle(s *state, e types.Epoch, in []record) {
	parts, owed, paid, weights := s.sum(in)
	supply := s.books.supply()
	vault, split, err := econ.Settle(s.vault, &m.cfg.Econ, econ.Spending{Supply: supply, Price: m.cfg.Price, Owed: owed, Paid: paid})
	if err != nil {
		return
	}
	day := s.day.Advance(econ.DayOf(e), supply)
	emission, err := econ.Emit(&m.cfg.Econ, day, econ.Work{
		Epoch: e, Price: m.cfg.Price, Bonus: split.Bonus, Demand: split.Demand, Weight: weights,
	})
	if err != nil {
		return
	}
	total, err := econ.Finish(split, emission)
	if err != nil {
		return
	}
	var allotted types.Ustone
	for i := range parts {
		x := &parts[i]
		if x.allot, err = econ.Allot(split, emission, x.owed, x.weights); err != nil {
			return
		}
		allotted += x.allot.Total()
	}
	for i := range parts {
		s.headers[place{parts[i].Region, e}] = parts[i].record
	}
	s.vault, s.day = vault, day
	s.books.minted += split.Mint + emission.Total()
	s.books.security += emission.Security
	s.books.pending += allotted
	s.books.dust += split.Drawn + split.Burn + split.Mint + emission.Total() - emission.Security - allotted
	s.settled[e] = total
}

// finalize makes a region's headers final whose window is closed, oldest first: only then do burn, verifiers'
// and treasury's parts leave the escrow.
func (m *Memory) finalize(s *state, region types.Region, height uint64) {
	for e := types.Epoch(1); e <= s.last[region]; e++ {
		r, ok := s.headers[place{region, e}]
		if !ok || r.header == nil || r.Status == Final || r.Status == Voided {
			continue
		}
		if r.Status != Accepted || height < r.FinalAt {
			return // nothing later can be final before it
		}
		r.Status = Final
		s.headers[place{region, e}] = r
		b := &s.books
		b.pending -= r.allot.Total()
		b.matured += r.allot.Devices()
		b.burned += r.allot.Burn
		b.community += r.allot.Treasury
		b.community += m.paySigners(s, &r)
	}
}

// paySigners shares the verifiers' part among who signed, and returns what is left.
func (m *Memory) paySigners(s *state, r *record) types.Ustone {
	var power []uint64
	var owners []types.Account
	leader := -1
	for i, v := range r.signers {
		if !Signed(r.Bitmap, i) {
			continue
		}
		if v.Key == r.header.Leader {
			leader = len(power)
		}
		power, owners = append(power, v.Power), append(owners, v.Owner)
	}
	pay, rest, err := econ.SignerPay(r.allot.Verifiers, power, leader)
	if err != nil {
		return r.allot.Verifiers
	}
	for i, p := range pay {
		s.balances[owners[i]] += p
	}
	return rest
}

// unbondDelay is how many epochs after a device began to unbond the header must be whose leaf frees its bond.
const unbondDelay = 4

func (m *Memory) claims(s *state, msg Claims) error {
	var nothing error
	paid := 0
	for _, c := range msg.Claims {
		ok, err := m.claim(s, c)
		if err != nil {
			return err
		}
		if ok {
			paid++
		} else {
			nothing = types.Refuse(types.AlreadyClaimed, "%v up to epoch %d", c.Leaf.Device, c.Epoch)
		}
	}
	if paid == 0 && nothing != nil {
		return nothing
	}
	return nil
}

// claim pays one leaf, and reports whether it did anything.
func (m *Memory) claim(s *state, c Claim) (bool, error) {
	r, ok := s.headers[place{c.Region, c.Epoch}]
	if !ok || r.Status != Final {
		return false, types.Refuse(types.NotFinal, "header of epoch %d", c.Epoch)
	}
	if _, err := c.Proof.Verify(r.header.Devices, r.header.Count, c.Leaf.Node()); err != nil {
		return false, types.Refuse(types.BadClaim, "%v in epoch %d: %v", c.Leaf.Device, c.Epoch, err)
	}
	d, ok := s.devices[c.Leaf.Device]
	if !ok {
		return false, types.Refuse(types.UnknownAuthor, "%v", c.Leaf.Device)
	}
	acted := false
	if due := c.Leaf.Amount; due > s.claimed[c.Leaf.Device] {
		due -= s.claimed[c.Leaf.Device]
		if due > s.books.matured {
			return false, types.Refuse(types.EconRange, "claim of %d, escrow holds %d", due, s.books.matured)
		}
		s.books.matured -= due
		s.books.paid += due
		s.claimed[c.Leaf.Device] = c.Leaf.Amount
		s.balances[d.Owner] += due
		acted = true
	}
	if x := econ.Slash(d.Bond, c.Leaf.Penalty, d.Slashed); x > 0 {
		d.Bond -= x
		d.Slashed += x
		s.books.bonds -= x
		s.books.burned += x
		s.dirty.devices[d.Key] = d.unbonding != 0
		acted = true
	}
	if d.unbonding != 0 && !d.freed && c.Epoch >= d.unbonding+unbondDelay {
		s.balances[d.Owner] += d.Bond
		s.books.bonds -= d.Bond
		d.Bond, d.freed = 0, true
		acted = true
	}
	s.devices[d.Key] = d
	return acted, nil
}
