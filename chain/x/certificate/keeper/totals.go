package keeper

import (
	"context"
	"fmt"
	"math"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	core "github.com/cairn-network/cairn/core/types"
)

// Totals are sums over all certificates, in watt-hours: Issued = Active + Retired + Expired.
type Totals struct{ Issued, Active, Retired, Expired uint64 }

// Totals returns them as of the block's time. It reads one number for each day on which something expires:
// those of the next Params.ExpiryDays, and past ones that no Issue has folded.
func (k Keeper) Totals(ctx context.Context) (t Totals, err error) {
	if t.Issued, err = k.issued.Get(ctx); absent(err) != nil {
		return t, err
	}
	if t.Retired, err = k.retired.Get(ctx); absent(err) != nil {
		return t, err
	}
	if t.Expired, err = k.lapsed.Get(ctx); absent(err) != nil {
		return t, err
	}
	today := now(ctx) / types.Day
	err = k.expiring.Walk(ctx, nil, func(day, wh uint64) (bool, error) {
		if day <= today {
			t.Expired += wh
		} else {
			t.Active += wh
		}
		return false, nil
	})
	return t, err
}

// count adds to what was issued, and folds a few past days.
func (k Keeper) count(ctx context.Context, wh, expires uint64) error {
	sum, err := k.issued.Get(ctx)
	if absent(err) != nil {
		return err
	}
	if wh > math.MaxUint64-sum { // all other sums are parts of this one
		return core.Refuse(core.EconRange, "%d Wh after %d", wh, sum)
	}
	if err := k.issued.Set(ctx, sum+wh); err != nil {
		return err
	}
	if err := k.expire(ctx, expires/types.Day, wh); err != nil {
		return err
	}
	return k.fold(ctx)
}

// expire adds to what expires when a day begins.
func (k Keeper) expire(ctx context.Context, day, wh uint64) error {
	sum, err := k.expiring.Get(ctx, day)
	if absent(err) != nil {
		return err
	}
	return k.expiring.Set(ctx, day, sum+wh)
}

// fold moves days that have begun to what is expired for good, at most folded of them.
func (k Keeper) fold(ctx context.Context) error {
	var days []uint64
	sum, err := k.lapsed.Get(ctx)
	if absent(err) != nil {
		return err
	}
	today := now(ctx) / types.Day
	if err := k.expiring.Walk(ctx, new(collections.Range[uint64]).EndInclusive(today), func(day, wh uint64) (bool, error) {
		days = append(days, day)
		sum += wh
		return len(days) == folded, nil
	}); err != nil {
		return err
	}
	if len(days) == 0 {
		return nil
	}
	for _, day := range days {
		if err := k.expiring.Remove(ctx, day); err != nil {
			return err
		}
	}
	return k.lapsed.Set(ctx, sum)
}

// discount counts a certificate as retired, which does not expire any more.
func (k Keeper) discount(ctx context.Context, c *types.Certificate) error {
	sum, err := k.retired.Get(ctx)
	if absent(err) != nil {
		return err
	}
	if err := k.retired.Set(ctx, sum+c.Wh()); err != nil {
		return err
	}
	day := c.Expires / types.Day
	left, err := k.expiring.Get(ctx, day)
	if err != nil {
		return err
	}
	if left < c.Wh() {
		return fmt.Errorf("certificate: %s of %d Wh expires on day %d, where %d do", c.Id, c.Wh(), day, left)
	}
	if left == c.Wh() {
		return k.expiring.Remove(ctx, day)
	}
	return k.expiring.Set(ctx, day, left-c.Wh())
}

// Audit reports where certificates and what is kept of them together disagree. It reads every certificate.
func (k Keeper) Audit(ctx context.Context) error {
	var have Totals
	var last types.Certificate
	rows := 0
	time := now(ctx)
	if err := k.Certificates.Walk(ctx, nil, func(key collections.Pair[[]byte, uint64], c types.Certificate) (bool, error) {
		id, err := c.Key()
		if err == nil {
			err = c.Validate()
		}
		if err != nil {
			return true, err
		}
		if string(id.Device[:]) != string(key.K1()) || id.From != key.K2() || last.Device == c.Device && c.FromWh < last.ToWh {
			return true, fmt.Errorf("certificate %s is kept under another id, or overlaps %s", c.Id, last.Id)
		}
		if err := k.kept(ctx, id, &c); err != nil {
			return true, err
		}
		rows, last = rows+1, c
		have.Issued += c.Wh()
		switch c.At(time) {
		case types.State_STATE_ACTIVE:
			have.Active += c.Wh()
		case types.State_STATE_RETIRED:
			have.Retired += c.Wh()
		case types.State_STATE_EXPIRED:
			have.Expired += c.Wh()
		}
		return false, nil
	}); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	want, err := k.Totals(ctx)
	if err != nil {
		return err
	}
	if have != want || want.Issued != want.Active+want.Retired+want.Expired {
		return fmt.Errorf("certificate: certificates add up to %+v, the totals are %+v", have, want)
	}
	lists := 0
	if err := k.owners.Walk(ctx, nil, func(collections.Triple[[]byte, uint32, []byte]) (bool, error) {
		lists++
		return false, nil
	}); err != nil {
		return err
	}
	if lists != rows {
		return fmt.Errorf("certificate: %d certificates, owners' lists hold %d", rows, lists)
	}
	return nil
}

// kept checks a certificate against its device's mark and its owner's list.
func (k Keeper) kept(ctx context.Context, id lot.ID, c *types.Certificate) error {
	mark, err := k.Mark(ctx, id.Device)
	if err != nil {
		return err
	}
	if c.ToWh > mark {
		return fmt.Errorf("certificate %s reaches to %d, its device's mark is %d", c.Id, c.ToWh, mark)
	}
	listed, err := k.listed(id, c)
	if err != nil {
		return err
	}
	ok, err := k.owners.Has(ctx, listed)
	if err == nil && !ok {
		err = fmt.Errorf("certificate %s is not in the list of %s", c.Id, c.Owner)
	}
	return err
}
