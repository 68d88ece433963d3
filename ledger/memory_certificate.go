package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// day is in seconds.
const day = 86_400

// clock returns the Unix second of a block.
func (m *Memory) clock(height uint64) uint64 {
	return uint64(m.time(height).Unix())
}

// at returns c as it stands at a Unix second.
func (c Certificate) at(second uint64) Certificate {
	if c.State == CertificateActive && second >= c.Expires {
		c.State = CertificateExpired
	}
	return c
}

// issue makes certificates of a sheet.
func (m *Memory) issue(s *state, from types.Account, msg Issue) error {
	h, err := m.proving(s, msg.Epoch, msg.Region)
	if err != nil {
		return err
	}
	sheet, err := lot.Decode(msg.Sheet.Encode())
	if err != nil {
		return err
	}
	lots, err := lot.DecodeLots(msg.Lots.Encode())
	if err != nil {
		return err
	}
	if err := h.VerifyOutput(types.Energy, sheet.Encode(), msg.Index, msg.Siblings); err != nil {
		return types.Refuse(types.CertificateProof, "sheet of %v in epoch %d: %v", sheet.Device, msg.Epoch, err)
	}
	if !sheet.Matches(lots) {
		return types.Refuse(types.CertificateLots, "sheet of %v, day %d: %d lots", sheet.Device, sheet.Day, len(lots))
	}
	d, ok := s.devices[sheet.Device]
	if !ok {
		return types.Refuse(types.UnknownAuthor, "%v", sheet.Device)
	}
	if d.Owner != from {
		return types.Refuse(types.NotOwner, "%v is %v's", sheet.Device, d.Owner)
	}
	if mark := s.marks[sheet.Device]; lots[0].From < mark {
		return types.Refuse(types.CertificateBelowMark, "lots of %v from %d Wh on, up to %d were issued", sheet.Device, lots[0].From, mark)
	}
	s.marks[sheet.Device] = lots[len(lots)-1].To
	now := m.clock(m.next())
	for _, r := range lots.Runs() {
		id := lot.ID{Device: sheet.Device, From: r.From}
		s.certificates[id] = Certificate{
			ID: id, To: r.To, Begin: r.Begin, End: r.End, Technology: sheet.Technology, Zone: sheet.Zone, Power: sheet.Power, Storage: sheet.Storage,
			Owner: from, Issued: now, Expires: (now/day + 1 + m.cfg.ExpiryDays) * day, State: CertificateActive, Epoch: msg.Epoch, Region: msg.Region,
		}
	}
	return nil
}

// proving returns the header that a sheet is held against.
func (m *Memory) proving(s *state, e types.Epoch, region types.Region) (*tally.Header, error) {
	if now := m.epochOf(m.next()); e < now && now-e > m.cfg.LapseEpochs {
		return nil, types.Refuse(types.CertificateLapsed, "header of epoch %d, %d epochs ago", e, now-e)
	}
	r, ok := s.headers[place{region, e}]
	if !ok || r.Status != Final {
		return nil, types.Refuse(types.CertificateNotFinal, "header of epoch %d, region %d", e, region)
	}
	return r.header, nil
}

// live returns a certificate that its owner can still do something with.
func (m *Memory) live(s *state, from types.Account, id lot.ID) (Certificate, error) {
	c, ok := s.certificates[id]
	if !ok {
		return c, types.Refuse(types.UnknownCertificate, "%v", id)
	}
	c = c.at(m.clock(m.next()))
	switch {
	case c.Owner != from:
		return c, types.Refuse(types.NotOwner, "%v is %v's", id, c.Owner)
	case c.State == CertificateRetired:
		return c, types.Refuse(types.CertificateRetired, "%v", id)
	case c.State == CertificateExpired:
		return c, types.Refuse(types.CertificateExpired, "%v", id)
	}
	return c, nil
}

func (m *Memory) split(s *state, from types.Account, msg Split) error {
	c, err := m.live(s, from, msg.ID)
	if err != nil {
		return err
	}
	if msg.At <= c.ID.From || msg.At >= c.To {
		return types.Refuse(types.CertificateRange, "split [%d, %d) at %d", c.ID.From, c.To, msg.At)
	}
	part := c
	part.ID.From, c.To = msg.At, msg.At
	s.certificates[c.ID], s.certificates[part.ID] = c, part
	return nil
}

func (m *Memory) transfer(s *state, from types.Account, msg Transfer) error {
	c, err := m.live(s, from, msg.ID)
	if err != nil {
		return err
	}
	c.Owner = msg.To
	s.certificates[c.ID] = c
	return nil
}

func (m *Memory) retire(s *state, from types.Account, msg Retire) error {
	c, err := m.live(s, from, msg.ID)
	if err != nil {
		return err
	}
	if err := lot.CheckBeneficiary(msg.Beneficiary); err != nil {
		return err
	}
	if msg.Hour != 0 && msg.Hour != lot.Hour(c.Begin) {
		return types.Refuse(types.CertificateHour, "%v is of the hour of %d, not %d", msg.ID, lot.Hour(c.Begin), msg.Hour)
	}
	c.State, c.Beneficiary, c.Hour = CertificateRetired, msg.Beneficiary, msg.Hour
	if c.Beneficiary == "" {
		c.Beneficiary = from.String()
	}
	s.certificates[c.ID] = c
	return nil
}

// Certificate implements Certificates.
func (m *Memory) Certificate(_ context.Context, id lot.ID) (*Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.state.certificates[id]
	if !ok {
		return nil, fmt.Errorf("certificate %v: %w", id, ErrNotFound)
	}
	c = c.at(m.clock(uint64(len(m.blocks))))
	return &c, nil
}

// Certificates implements Certificates. A page goes on after the id that Next is the text of, with its shelf before it.
func (m *Memory) Certificates(_ context.Context, q CertificateQuery) (*CertificatePage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Certificate
	for _, id := range slices.SortedFunc(maps.Keys(m.state.certificates), lot.ID.Compare) {
		c := m.state.certificates[id]
		retired := c.State == CertificateRetired
		switch {
		case !q.Device.IsZero() && id.Device != q.Device, q.Device.IsZero() && c.Owner != q.Owner:
		case q.Device.IsZero() && (q.State == CertificateRetired && !retired || q.State == CertificateActive && retired):
		default:
			list = append(list, c.at(m.clock(uint64(len(m.blocks)))))
		}
	}
	if q.Device.IsZero() {
		slices.SortStableFunc(list, func(a, b Certificate) int { return shelf(a) - shelf(b) })
	}
	from := 0
	if len(q.After) > 0 {
		from = slices.IndexFunc(list, func(c Certificate) bool { return c.ID.String() == string(q.After) })
		if from < 0 {
			return nil, fmt.Errorf("certificates: no page begins at %q", q.After)
		}
	}
	limit := q.Limit
	if limit <= 0 || limit > MaxCertificates {
		limit = MaxCertificates
	}
	page := &CertificatePage{Certificates: list[from:min(len(list), from+limit)]}
	if from+limit < len(list) {
		page.Next = []byte(list[from+limit].ID.String())
	}
	return page, nil
}

// shelf is where a certificate stands in its owner's list: retired ones last.
func shelf(c Certificate) int {
	if c.State == CertificateRetired {
		return 1
	}
	return 0
}

// CertificateMark implements Certificates.
func (m *Memory) CertificateMark(_ context.Context, device types.Key) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.marks[device], nil
}

// CertificateTotals implements Certificates.
func (m *Memory) CertificateTotals(context.Context) (*CertificateTotals, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := new(CertificateTotals)
	for _, c := range m.state.certificates {
		t.Issued += c.Wh()
		switch c.at(m.clock(uint64(len(m.blocks)))).State {
		case CertificateActive:
			t.Active += c.Wh()
		case CertificateRetired:
			t.Retired += c.Wh()
		case CertificateExpired:
			t.Expired += c.Wh()
		}
	}
	return t, nil
}
