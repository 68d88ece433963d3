package customer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/role"
)

// A meter's consumption is read from its device's line in the tally's state. A line has the intervals that are
// read and not over yet, each by itself: whoever looks once an epoch sees them all. Behind them stands the
// import register, which tells what was missed.

// maxMeters bounds how many meters' lines a gateway asks for in an epoch.
const maxMeters = 1024

// reading is what a meter's site drew and fed in in one interval, in Wh.
type reading struct {
	_              struct{} `cbor:",toarray"`
	Import, Export uint64
}

// register is how far a meter's import register got.
type register struct {
	_       struct{} `cbor:",toarray"`
	FirstK  uint64   // the interval of the reading with which following it began
	First   uint64   // Wh then
	LastK   uint64
	Last    uint64
	Resets  uint64 // how often it fell since; what it lost is not known
	Carried uint64 // Wh before the last fall
}

// observe follows the meters that live orders name. It is an error if one of them could not be read: then it is
// tried again, for what its line has of the newest intervals is gone with the next tally.
func (c *Customer) observe(ctx context.Context) error {
	records, err := c.books.orders(types.Account{})
	if err != nil {
		return err
	}
	now := c.market.Notice().Epoch
	meters := map[types.Key]bool{}
	for _, r := range records {
		s, err := energy.DecodeSelector(r.Signed.Order.Selector)
		if err == nil && !s.Meter.IsZero() && !r.Cancelled && r.Signed.Order.Session.Expiry() > now && len(meters) < maxMeters {
			meters[s.Meter] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	slots := make(chan struct{}, 8)
	var group sync.WaitGroup
	var mu sync.Mutex // guards what follows
	failed, why := 0, error(nil)
	for meter := range meters {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := c.watch(ctx, meter); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed, why = failed+1, fmt.Errorf("%v: %w", meter, err)
			}
		})
	}
	group.Wait()
	if failed > 0 {
		return fmt.Errorf("energy: %d of %d meters cannot be read, such as %w", failed, len(meters), why)
	}
	return nil
}

// watch takes in what a meter's line says now.
func (c *Customer) watch(ctx context.Context, meter types.Key) error {
	line, err := c.market.Line(ctx, meter)
	if err != nil || line.State == nil {
		return err
	}
	s, err := energy.DecodeState(line.State)
	if err != nil || s.K == 0 {
		return err
	}
	return c.books.update("readings", func(tx *bbolt.Tx) error {
		in, err := rows(tx, readingBucket, meter[:], true)
		if err != nil {
			return err
		}
		for i := range s.Pending {
			v := &s.Pending[i]
			if v.Span != 1 || !v.Known.Has(energy.Import) {
				continue
			}
			if err := put(in, u64(v.K), types.Encode(&reading{Import: v.Wh[energy.Import], Export: v.Wh[energy.Export]}), maxReadings); err != nil {
				return err
			}
		}
		g, err := get[register](tx.Bucket(registerBucket), meter[:])
		if err != nil {
			return err
		}
		if g == nil {
			g = begin(s)
		}
		if wh := s.Wh[energy.Import]; wh < g.Last {
			g.Resets, g.Carried, g.First, g.Last = g.Resets+1, g.Carried+g.Last-g.First, wh, wh
		} else if s.K > g.LastK {
			g.LastK, g.Last = s.K, wh
		}
		return tx.Bucket(registerBucket).Put(meter[:], types.Encode(g))
	})
}

// begin is the register before the intervals that are seen one by one.
func begin(s *energy.State) *register {
	g := &register{FirstK: s.K, First: s.Wh[energy.Import], LastK: s.K, Last: s.Wh[energy.Import]}
	for i := range slices.Backward(s.Pending) {
		v := &s.Pending[i]
		if v.Span != 1 || !v.Known.Has(energy.Import) || v.K != g.FirstK || v.Wh[energy.Import] > g.First {
			break
		}
		g.FirstK, g.First = v.K-1, g.First-v.Wh[energy.Import]
	}
	return g
}

// Score says which share of a meter's consumption was matched by what was produced, and retired for it, in the
// same hour.
type Score struct {
	Meter types.Key `json:"meter"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	// Score is Σ min(retired, consumed) / (Σ consumed + unattributed) in basis points; 10,000 is round the
	// clock, 0 if nothing was consumed.
	Score        types.Bp `json:"score_bp"`
	Consumed     uint64   `json:"consumed_wh"`     // in the hours listed: drawn from the grid, less what was fed in in the same interval
	Unattributed uint64   `json:"unattributed_wh"` // the import register counted it, but no line that was seen says when; it counts as not matched
	Retired      uint64   `json:"retired_wh"`
	Matched      uint64   `json:"matched_wh"`
	Hours        []Hour   `json:"hours"`
	Final        bool     `json:"final"` // all that was retired was by final tallies
	Basis        string   `json:"basis"` // what this is computed from, in words
}

// Hour is one hour of a Score.
type Hour struct {
	Time      time.Time `json:"time"`
	Intervals int       `json:"intervals"` // whose consumption is known: 4 is all
	Consumed  uint64    `json:"consumed_wh"`
	Fills     uint64    `json:"filled_wh"`      // bought by the meter's orders
	Certified uint64    `json:"certificate_wh"` // certificates retired for this hour, with the meter as beneficiary
	Matched   uint64    `json:"matched_wh"`
}

const scoreBasis = "consumed: the intervals of the meter's line in the tallies' state; retired: the statements of the account's orders for this meter, " +
	"and the account's certificates on the chain that were retired for the meter and the hour"

// farAway is a Unix second that no time reaches: the year 9999.
const farAway = 253_370_764_800

// maxHours bounds the hours of a score.
const maxHours = 24 * 366

// score computes a meter's score from an hour on to another, both in energy time.
func (c *Customer) score(ctx context.Context, account types.Account, meter types.Key, from, to uint64) (*Score, error) {
	hours := map[uint64]*Hour{}
	hour := func(second uint64) *Hour {
		h := lot.Hour(second)
		if hours[h] == nil {
			hours[h] = &Hour{Time: time.Unix(int64(h), 0).UTC()}
		}
		return hours[h]
	}
	known, g, err := c.books.consumed(meter, from, to, func(k uint64, r *reading) {
		h := hour(k * lot.Interval)
		h.Intervals++
		h.Consumed += r.Import - min(r.Import, r.Export)
	})
	if err != nil {
		return nil, err
	}
	out := &Score{Meter: meter, From: time.Unix(int64(from), 0).UTC(), To: time.Unix(int64(to), 0).UTC(), Final: true, Basis: scoreBasis, Hours: []Hour{}}
	if g != nil && from <= g.FirstK*lot.Interval && to > g.LastK*lot.Interval { // else nobody knows which part is of these hours
		total := g.Carried + g.Last - g.First
		out.Unattributed = total - min(total, known)
	}
	err = c.fills(account, page{}, func(f *Fill) bool {
		second := uint64(f.Time.Unix())
		if f.Meter != nil && *f.Meter == meter && second >= from && second < to {
			hour(second).Fills += f.Wh
			out.Final = out.Final && f.Final
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	err = c.certificates(ctx, certificate.Query{Owner: account, State: certificate.Retired}, func(x *certificate.Certificate) {
		if x.Beneficiary == meter.String() && x.Hour >= from && x.Hour != 0 && x.Hour < to {
			hour(x.Hour).Certified += x.Wh()
		}
	})
	if err != nil {
		return nil, err
	}
	if len(hours) > maxHours {
		return nil, types.Refuse(role.BadRequest, "%d hours: ask for at most %d", len(hours), maxHours)
	}
	for _, h := range hours {
		h.Matched = min(h.Consumed, h.Fills+h.Certified)
		out.Consumed += h.Consumed
		out.Retired += h.Fills + h.Certified
		out.Matched += h.Matched
		out.Hours = append(out.Hours, *h)
	}
	slices.SortFunc(out.Hours, func(a, b Hour) int { return a.Time.Compare(b.Time) })
	if n := len(out.Hours); n > 0 { // what was not said is what there is
		if from == 0 {
			out.From = out.Hours[0].Time
		}
		if to == farAway {
			out.To = out.Hours[n-1].Time.Add(time.Hour)
		}
	}
	if all := out.Consumed + out.Unattributed; all > 0 {
		out.Score = types.Bp(out.Matched * econ.Bps / all)
	}
	return out, nil
}

// consumed visits the intervals of a meter that begin in a span of time, and returns how many Wh were drawn in
// all that are known, of any time, and how far the register is.
func (b *books) consumed(meter types.Key, from, to uint64, visit func(k uint64, r *reading)) (known uint64, g *register, err error) {
	err = b.view("consumption", func(tx *bbolt.Tx) error {
		if g, err = get[register](tx.Bucket(registerBucket), meter[:]); err != nil || g == nil {
			return err
		}
		in, _ := rows(tx, readingBucket, meter[:], false)
		if in == nil {
			return nil
		}
		return in.ForEach(func(k, v []byte) error {
			r := new(reading)
			if err := types.DecodeLimit(v, r, maxRow); err != nil {
				return fmt.Errorf("reading %x: %w", k, err)
			}
			at := binary.BigEndian.Uint64(k)
			if at > g.FirstK {
				known += r.Import
			}
			if second := at * lot.Interval; second >= from && second < to {
				visit(at, r)
			}
			return nil
		})
	})
	return known, g, err
}

// certificates visits certificates, at most ten thousand.
func (c *Customer) certificates(ctx context.Context, q certificate.Query, visit func(*certificate.Certificate)) error {
	for range 10 {
		page, err := certificate.Reader{Chain: c.market}.List(ctx, q)
		if err != nil {
			if errors.Is(err, ledger.ErrNotFound) {
				return nil
			}
			return fmt.Errorf("energy: certificates: %w", err)
		}
		for i := range page.Certificates {
			visit(&page.Certificates[i])
		}
		if q.After = page.Next; len(page.Next) == 0 {
			return nil
		}
	}
	return nil
}
