package customer

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// Fill is a range of a device's register that an order bought in one interval.
type Fill struct {
	Order   string       `json:"order"`
	Rule    string       `json:"rule,omitempty"` // "" for an order that the books have forgotten
	Meter   *types.Key   `json:"meter,omitempty"`
	Epoch   types.Epoch  `json:"epoch"` // of the tally that cleared it
	Final   bool         `json:"final"` // else its header can still be voided
	Time    time.Time    `json:"time"`  // the interval's beginning, in energy time
	Device  types.Key    `json:"device"`
	From    uint64       `json:"from_wh"` // of the device's virtual register: included
	To      uint64       `json:"to_wh"`   // excluded
	Wh      uint64       `json:"wh"`
	Price   uint64       `json:"price"` // micro-credits per Wh
	Amount  types.Credit `json:"amount,string"`
	Retired string       `json:"retired_for"` // whose consumption it is: the order's beneficiary, else the payer
}

// Statement is what an order bought in one epoch, with all that proves it to a stranger; docs/energy.md says how.
type Statement struct {
	Order     string       `json:"order"`
	Payer     types.Key    `json:"payer"`
	Epoch     types.Epoch  `json:"epoch"`
	Region    types.Region `json:"region"`
	Part      uint32       `json:"part"`
	Final     bool         `json:"final"`
	Wh        uint64       `json:"wh"`
	Amount    types.Credit `json:"amount,string"`
	Leaf      string       `json:"leaf"`      // hexadecimal: what stands in the outputs tree
	Index     uint64       `json:"index"`     // where
	Siblings  []string     `json:"siblings"`  // hexadecimal, from the leaf up
	Sales     []Sale       `json:"sales"`     // what the leaf sums up
	SalesCBOR string       `json:"sales_raw"` // hexadecimal: their encoding, whose SHA-256 the leaf holds
}

// Sale is a range that a statement sums up.
type Sale struct {
	Device   types.Key `json:"device"`
	Interval uint64    `json:"interval"`
	Time     time.Time `json:"time"`
	From     uint64    `json:"from_wh"`
	To       uint64    `json:"to_wh"`
	Price    uint64    `json:"price"`
}

// page says which statements are asked for.
type page struct {
	Order types.SessionID // the zero one: all
	From  types.Epoch     // included
	To    types.Epoch     // included; 0: all
	Limit int             // at most; 0: all

	Newest bool // newest first
}

// statements visits an account's statements, oldest first if not said otherwise, until visit returns false.
func (b *books) statements(account types.Account, p page, visit func(*leaf, *energy.Statement) bool) error {
	return b.view("statements", func(tx *bbolt.Tx) error {
		in, err := rows(tx, statementBucket, account[:], false)
		if err != nil || in == nil {
			return err
		}
		c := in.Cursor()
		k, v, step := []byte(nil), []byte(nil), c.Next
		last := u64(uint64(p.To) + 1) // the first key beyond
		if p.To == 0 {
			last = bytes.Repeat([]byte{0xff}, 9)
		}
		if p.Newest {
			if k, _ = c.Seek(last); k == nil {
				k, v = c.Last()
			} else {
				k, v = c.Prev()
			}
			step = c.Prev
		} else {
			k, v = c.Seek(u64(uint64(p.From)))
		}
		n := 0
		for ; k != nil; k, v = step() {
			if bytes.Compare(k, last) >= 0 || bytes.Compare(k[:8], u64(uint64(p.From))) < 0 || p.Limit > 0 && n == p.Limit {
				return nil
			}
			if p.Order != (types.SessionID{}) && types.SessionID(k[8:24]) != p.Order {
				continue
			}
			l := new(leaf)
			if err := types.DecodeLimit(v, l, maxRow); err != nil {
				return fmt.Errorf("statement %x: %w", k, err)
			}
			s, err := energy.DecodeStatement(l.Data)
			if err != nil {
				return fmt.Errorf("statement %x: %w", k, err)
			}
			n++
			if !visit(l, s) {
				return nil
			}
		}
		return nil
	})
}

// at returns the beginning of an interval.
func at(k uint64) time.Time { return time.Unix(int64(k*lot.Interval), 0).UTC() }

// fills visits what an account's orders bought, in the order of the statements, until visit returns false.
func (c *Customer) fills(account types.Account, p page, visit func(*Fill) bool) error {
	final, err := c.books.final()
	if err != nil {
		return err
	}
	type bought struct {
		rule  string
		meter *types.Key
		who   string
	}
	known := map[types.SessionID]*bought{}
	records, err := c.books.orders(account)
	if err != nil {
		return err
	}
	for _, r := range records {
		b := &bought{rule: ruleName(r.Signed.Order.Rule), who: r.Signed.Order.Payer.String()}
		if s, err := energy.DecodeSelector(r.Signed.Order.Selector); err == nil {
			if !s.Meter.IsZero() {
				b.meter = &s.Meter
			}
			if s.Beneficiary != "" {
				b.who = s.Beneficiary
			}
		}
		known[r.Signed.Order.Session] = b
	}
	return c.books.statements(account, p, func(l *leaf, s *energy.Statement) bool {
		sales, err := energy.DecodeSales(l.Detail)
		if err != nil || !s.Matches(sales) {
			return true // its leaf is among the statements
		}
		b := known[s.Session]
		if b == nil {
			b = &bought{who: s.Payer.String()}
		}
		for i := range sales {
			sale := &sales[i]
			wh := sale.To - sale.From
			more := visit(&Fill{
				Order: s.Session.String(), Rule: b.rule, Meter: b.meter, Epoch: s.Epoch, Final: s.Epoch <= final, Time: at(sale.K), Device: sale.Device,
				From: sale.From, To: sale.To, Wh: wh, Price: sale.Price, Amount: types.Credit(wh * sale.Price), Retired: b.who,
			})
			if !more {
				return false
			}
		}
		return true
	})
}

// show returns a statement as the API shows it.
func show(l *leaf, s *energy.Statement, final types.Epoch) *Statement {
	out := &Statement{
		Order: s.Session.String(), Payer: s.Payer, Epoch: s.Epoch, Region: l.Region, Part: s.Part, Final: s.Epoch <= final, Wh: s.Wh, Amount: s.Amount,
		Leaf: hex.EncodeToString(l.Data), Index: l.Index, Siblings: hexes(l.Siblings), Sales: []Sale{}, SalesCBOR: hex.EncodeToString(l.Detail),
	}
	if sales, err := energy.DecodeSales(l.Detail); err == nil {
		for _, x := range sales {
			out.Sales = append(out.Sales, Sale{Device: x.Device, Interval: x.K, Time: at(x.K), From: x.From, To: x.To, Price: x.Price})
		}
	}
	return out
}

func hexes(list []types.Hash) []string {
	out := make([]string, len(list))
	for i, h := range list {
		out[i] = h.String()
	}
	return out
}

// fillHead names the columns of the fills in CSV (RFC 4180).
var fillHead = []string{"order", "rule", "meter", "epoch", "final", "time", "device", "from_wh", "to_wh", "wh", "price", "amount", "retired_for"}

// row is a fill in CSV. A name that a spreadsheet would take for a formula is written with an apostrophe before it.
func (f *Fill) row() []string {
	meter := ""
	if f.Meter != nil {
		meter = f.Meter.String()
	}
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	who := f.Retired
	if who != "" && bytes.IndexByte([]byte("=+-@\t"), who[0]) >= 0 {
		who = "'" + who
	}
	return []string{f.Order, f.Rule, meter, u(uint64(f.Epoch)), strconv.FormatBool(f.Final), f.Time.Format(time.RFC3339), f.Device.String(),
		u(f.From), u(f.To), u(f.Wh), u(f.Price), u(uint64(f.Amount)), who}
}

// writeFills writes fills in CSV.
func (c *Customer) writeFills(w io.Writer, account types.Account, p page) error {
	out := csv.NewWriter(w)
	if err := out.Write(fillHead); err != nil {
		return err
	}
	err := c.fills(account, p, func(f *Fill) bool { return out.Write(f.row()) == nil })
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}

// statementHead names the columns of the statements in CSV.
var statementHead = []string{"order", "payer", "epoch", "region", "part", "final", "wh", "amount", "index", "leaf"}

// writeStatements writes statements in CSV.
func (c *Customer) writeStatements(w io.Writer, account types.Account, p page) error {
	final, err := c.books.final()
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(statementHead); err != nil {
		return err
	}
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	err = c.books.statements(account, p, func(l *leaf, s *energy.Statement) bool {
		return out.Write([]string{s.Session.String(), s.Payer.String(), u(uint64(s.Epoch)), u(uint64(l.Region)), u(uint64(s.Part)),
			strconv.FormatBool(s.Epoch <= final), u(s.Wh), u(uint64(s.Amount)), u(l.Index), hex.EncodeToString(l.Data)}) == nil
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}
