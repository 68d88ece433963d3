package explorer

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Device is a device and one of its categories, as `cairn device list` and the page show it. Amounts are base units.
type Device struct {
	Device   string       `json:"device"`
	Category string       `json:"category"`
	Owner    string       `json:"owner"`
	Status   string       `json:"status"`
	Quality  types.Bp     `json:"quality"`
	Earned   types.Ustone `json:"earned_ustone,string"`
	Claimed  types.Ustone `json:"claimed_ustone,string"`
	Refused  uint64       `json:"refused"`
	Cell     string       `json:"cell"`
	Bond     types.Ustone `json:"bond_ustone,string"`
	Things   uint64       `json:"things"` // behind it, in its fleet
}

// Tally is a tally, as `cairn tally list` and the page show it. Paid and Amount are cumulative.
type Tally struct {
	Epoch   types.Epoch   `json:"epoch"`
	Region  types.Region  `json:"region"`
	Header  string        `json:"header"`
	Status  ledger.Status `json:"status"`
	Counted uint64        `json:"counted"`
	Refused uint64        `json:"refused"`
	Paid    types.Credit  `json:"paid,string"`
	Amount  types.Ustone  `json:"amount,string"`
	Height  uint64        `json:"height"`
	Round   uint8         `json:"round"`
	Leader  string        `json:"leader"`
	Devices uint64        `json:"devices"`
}

// RefusalCount counts refusals: of a device, or of a whole tally (Device "").
type RefusalCount struct {
	Epoch  types.Epoch  `json:"epoch"`
	Device string       `json:"device,omitempty"`
	Reason types.Reason `json:"reason"`
	Count  uint64       `json:"count"`
}

// Point is what a device had earned after an epoch.
type Point struct {
	Epoch   types.Epoch  `json:"epoch"`
	Amount  types.Ustone `json:"amount_ustone,string"`
	Quality types.Bp     `json:"quality"`
}

// limitOf bounds a page of rows.
func limitOf(n int) int {
	if n < 1 || n > 1000 {
		return 100
	}
	return n
}

const deviceQuery = `
SELECT d.device, d.categories, d.owner, d.status, coalesce(l.category, 0), coalesce(l.quality, 0), coalesce(l.amount, 0), d.claimed,
       (SELECT coalesce(sum(count), 0) FROM refusal r WHERE r.device = d.device), d.cell, d.bond, d.things
FROM device d LEFT JOIN line l ON l.device = d.device AND l.epoch = (SELECT max(epoch) FROM line WHERE device = d.device)
WHERE d.device > ? AND (? = '' OR d.device = ?) ORDER BY d.device, l.category LIMIT ?`

// list reads rows, each as scan reads one. It is never nil: an empty list is [] in JSON.
func list[T any](ctx context.Context, ix *index, scan func(*sql.Rows, *T) error, query string, args ...any) ([]T, error) {
	rows, err := ix.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		var row T
		if err := scan(rows, &row); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// devices lists devices after a key, or the one that is named.
func (ix *index) devices(ctx context.Context, after, only string, limit int) ([]Device, error) {
	return list(ctx, ix, func(rows *sql.Rows, d *Device) error {
		var categories string
		var category types.Category
		err := rows.Scan(&d.Device, &categories, &d.Owner, &d.Status, &category, &d.Quality, &d.Earned, &d.Claimed, &d.Refused, &d.Cell, &d.Bond, &d.Things)
		d.Category, _, _ = strings.Cut(categories, ",")
		if category != 0 {
			d.Category = category.String()
		}
		return err
	}, deviceQuery, after, only, only, limitOf(limit))
}

// tallies lists the newest tallies first.
func (ix *index) tallies(ctx context.Context, limit int) ([]Tally, error) {
	return ix.tallyRows(ctx, `ORDER BY epoch DESC, region LIMIT ?`, limitOf(limit))
}

// tally returns one tally, or nil.
func (ix *index) tally(ctx context.Context, e types.Epoch, region types.Region) (*Tally, error) {
	t, err := ix.tallyRows(ctx, `WHERE epoch = ? AND region = ?`, e, region)
	if err != nil || len(t) == 0 {
		return nil, err
	}
	return &t[0], nil
}

func (ix *index) tallyRows(ctx context.Context, where string, args ...any) ([]Tally, error) {
	return list(ctx, ix, func(rows *sql.Rows, t *Tally) error {
		return rows.Scan(&t.Epoch, &t.Region, &t.Header, &t.Status, &t.Counted, &t.Refused, &t.Paid, &t.Amount, &t.Height, &t.Round, &t.Leader, &t.Devices)
	}, `SELECT epoch, region, header, status, counted, refused, paid, amount, height, round, leader, devices FROM tally `+where, args...)
}

// refusals counts by reason: of one device over all epochs, of one epoch (device ""), or of everything (both zero).
func (ix *index) refusals(ctx context.Context, device string, epoch types.Epoch, limit int) ([]RefusalCount, error) {
	return list(ctx, ix, func(rows *sql.Rows, r *RefusalCount) error {
		r.Device = device
		return rows.Scan(&r.Epoch, &r.Reason, &r.Count)
	}, `SELECT max(epoch), reason, sum(count) FROM refusal
		WHERE (? = '' OR device = ?) AND (? = 0 OR epoch = ?) GROUP BY reason ORDER BY sum(count) DESC, reason LIMIT ?`,
		device, device, epoch, epoch, limitOf(limit))
}

// history returns what a device had earned after each of its newest epochs, oldest first.
func (ix *index) history(ctx context.Context, device string, limit int) ([]Point, error) {
	points, err := list(ctx, ix, func(rows *sql.Rows, p *Point) error {
		return rows.Scan(&p.Epoch, &p.Amount, &p.Quality)
	}, `SELECT epoch, max(amount), max(quality) FROM line WHERE device = ? GROUP BY epoch ORDER BY epoch DESC LIMIT ?`, device, limitOf(limit))
	slices.Reverse(points)
	return points, err
}
