package certificate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// day is in seconds.
const day = 86_400

// Config are the module's parameters. Zero fields take the values of a new chain.
type Config struct {
	ExpiryDays  uint64      // for which a certificate can be retired: 730
	LapseEpochs types.Epoch // for which a header proves a sheet: 35 days of them
	Page        int         // bounds a page of a list: MaxPage
}

// Twin is the module in a ledger.Memory (ledger.Config.Modules).
type Twin struct {
	cfg          Config
	certificates map[lot.ID]Certificate // active where not retired: whether one is expired, the time tells
	marks        map[types.Key]uint64   // Wh up to which a device's register was issued
}

var _ ledger.Module = (*Twin)(nil)

// NewTwin returns the module of a new chain.
func NewTwin(cfg Config) *Twin {
	if cfg.ExpiryDays == 0 {
		cfg.ExpiryDays = 730
	}
	if cfg.LapseEpochs == 0 {
		cfg.LapseEpochs = 35 * econ.EpochsPerDay
	}
	if cfg.Page == 0 {
		cfg.Page = MaxPage
	}
	return &Twin{cfg: cfg, certificates: map[lot.ID]Certificate{}, marks: map[types.Key]uint64{}}
}

// Put has certificates exist that nobody issued.
func (t *Twin) Put(list ...Certificate) {
	for _, c := range list {
		t.certificates[c.ID] = c
	}
}

// SetMark has a device's register be issued up to a watt-hour.
func (t *Twin) SetMark(device types.Key, wh uint64) { t.marks[device] = wh }

// Clone implements ledger.Module.
func (t *Twin) Clone() ledger.Module {
	return &Twin{t.cfg, maps.Clone(t.certificates), maps.Clone(t.marks)}
}

// Apply implements ledger.Module.
func (t *Twin) Apply(next ledger.State, from types.Account, msg ledger.ModuleMsg) error {
	switch msg := msg.(type) {
	case Issue:
		return t.issue(next, from, msg)
	case Split:
		return t.split(next, from, msg)
	case Transfer:
		return t.transfer(next, from, msg)
	case Retire:
		return t.retire(next, from, msg)
	}
	return fmt.Errorf("certificate: no message %T", msg)
}

// at returns c as it stands at a Unix second.
func (c Certificate) at(second uint64) Certificate {
	if c.State == Active && second >= c.Expires {
		c.State = Expired
	}
	return c
}

// issue makes certificates of a sheet.
func (t *Twin) issue(next ledger.State, from types.Account, msg Issue) error {
	h, err := t.proving(next, msg.Epoch, msg.Region)
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
	d, ok := next.Device(sheet.Device)
	if !ok {
		return types.Refuse(types.UnknownAuthor, "%v", sheet.Device)
	}
	if d.Owner != from {
		return types.Refuse(types.NotOwner, "%v is %v's", sheet.Device, d.Owner)
	}
	if mark := t.marks[sheet.Device]; lots[0].From < mark {
		return types.Refuse(types.CertificateBelowMark, "lots of %v from %d Wh on, up to %d were issued", sheet.Device, lots[0].From, mark)
	}
	t.marks[sheet.Device] = lots[len(lots)-1].To
	now := next.Time()
	for _, r := range lots.Runs() {
		t.Put(Certificate{
			ID: lot.ID{Device: sheet.Device, From: r.From}, To: r.To, Begin: r.Begin, End: r.End, Technology: sheet.Technology, Zone: sheet.Zone,
			Power: sheet.Power, Storage: sheet.Stored, Owner: from, Issued: now, Expires: (now/day + 1 + t.cfg.ExpiryDays) * day, State: Active,
			Epoch: msg.Epoch, Region: msg.Region,
		})
	}
	return nil
}

// proving returns the header that a sheet is held against.
func (t *Twin) proving(next ledger.State, e types.Epoch, region types.Region) (*tally.Header, error) {
	if now := next.Epoch(); e < now && now-e > t.cfg.LapseEpochs {
		return nil, types.Refuse(types.CertificateLapsed, "header of epoch %d, %d epochs ago", e, now-e)
	}
	h, ok := next.Final(e, region)
	if !ok {
		return nil, types.Refuse(types.CertificateNotFinal, "header of epoch %d, region %d", e, region)
	}
	return h, nil
}

// live returns a certificate that its owner can still do something with.
func (t *Twin) live(next ledger.State, from types.Account, id lot.ID) (Certificate, error) {
	c, ok := t.certificates[id]
	if !ok {
		return c, types.Refuse(types.UnknownCertificate, "%v", id)
	}
	c = c.at(next.Time())
	switch {
	case c.Owner != from:
		return c, types.Refuse(types.NotOwner, "%v is %v's", id, c.Owner)
	case c.State == Retired:
		return c, types.Refuse(types.CertificateRetired, "%v", id)
	case c.State == Expired:
		return c, types.Refuse(types.CertificateExpired, "%v", id)
	}
	return c, nil
}

func (t *Twin) split(next ledger.State, from types.Account, msg Split) error {
	c, err := t.live(next, from, msg.ID)
	if err != nil {
		return err
	}
	if msg.At <= c.ID.From || msg.At >= c.To {
		return types.Refuse(types.CertificateRange, "split [%d, %d) at %d", c.ID.From, c.To, msg.At)
	}
	part := c
	part.ID.From, c.To = msg.At, msg.At
	t.Put(c, part)
	return nil
}

func (t *Twin) transfer(next ledger.State, from types.Account, msg Transfer) error {
	c, err := t.live(next, from, msg.ID)
	if err != nil {
		return err
	}
	c.Owner = msg.To
	t.Put(c)
	return nil
}

func (t *Twin) retire(next ledger.State, from types.Account, msg Retire) error {
	c, err := t.live(next, from, msg.ID)
	if err != nil {
		return err
	}
	if err := lot.CheckBeneficiary(msg.Beneficiary); err != nil {
		return err
	}
	if msg.Hour != 0 && msg.Hour != lot.Hour(c.Begin) {
		return types.Refuse(types.CertificateHour, "%v is of the hour of %d, not %d", msg.ID, lot.Hour(c.Begin), msg.Hour)
	}
	c.State, c.Beneficiary, c.Hour = Retired, msg.Beneficiary, msg.Hour
	if c.Beneficiary == "" {
		c.Beneficiary = from.String()
	}
	t.Put(c)
	return nil
}

// Query implements ledger.Module.
func (t *Twin) Query(newest ledger.State, method string, request, answer any) error {
	now := newest.Time()
	switch in := request.(type) {
	case oneRequest:
		id := lot.ID{Device: in.Device, From: in.From}
		c, ok := t.certificates[id]
		if !ok {
			return fmt.Errorf("certificate %v: %w", id, ledger.ErrNotFound)
		}
		answer.(*oneAnswer).Certificate = rowOf(c.at(now))
	case ownerRequest:
		list := t.list(now, func(c *Certificate) bool {
			retired := c.State == Retired
			return c.Owner == in.Owner && (in.State != protoState[Retired] || retired) && (in.State != protoState[Active] || !retired)
		})
		slices.SortStableFunc(list, func(a, b row) int { return shelf(a) - shelf(b) })
		return t.page(list, in.Pages, answer.(*listAnswer))
	case deviceRequest:
		return t.page(t.list(now, func(c *Certificate) bool { return c.ID.Device == in.Device }), in.Pages, answer.(*listAnswer))
	case markRequest:
		answer.(*markAnswer).Wh = t.marks[in.Device]
	default:
		if method != totalsMethod {
			return fmt.Errorf("certificate: no method %s", method)
		}
		t.totals(now, answer.(*Totals))
	}
	return nil
}

// list returns the certificates that are wanted as they stand at a Unix second, by device and range.
func (t *Twin) list(now uint64, want func(*Certificate) bool) (list []row) {
	for _, id := range slices.SortedFunc(maps.Keys(t.certificates), lot.ID.Compare) {
		if c := t.certificates[id]; want(&c) {
			list = append(list, rowOf(c.at(now)))
		}
	}
	return list
}

// shelf is where a certificate stands in its owner's list: retired ones last.
func shelf(r row) int {
	if r.State == protoState[Retired] {
		return 1
	}
	return 0
}

// page cuts a page out of a list. A page goes on at the id that its key is the text of.
func (t *Twin) page(list []row, p pageRequest, out *listAnswer) error {
	from := 0
	if len(p.Key) > 0 {
		from = slices.IndexFunc(list, func(r row) bool { return r.ID.String() == string(p.Key) })
		if from < 0 {
			return fmt.Errorf("certificates: no page begins at %q", p.Key)
		}
	}
	end := from + min(p.Limit, t.cfg.Page)
	out.Certificates = list[from:min(len(list), end)]
	if end < len(list) {
		out.Pages.Next = []byte(list[end].ID.String())
	}
	return nil
}

func (t *Twin) totals(now uint64, out *Totals) {
	for _, c := range t.certificates {
		out.Issued += c.Wh()
		switch c.at(now).State {
		case Active:
			out.Active += c.Wh()
		case Retired:
			out.Retired += c.Wh()
		case Expired:
			out.Expired += c.Wh()
		}
	}
}
