package churn

import (
	"context"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// forgets is how many changes one block forgets at most.
const forgets = 100

// Log is what a module says of the registry views to come: by epoch, region and subject, the encoding of a
// tally.Change.
type Log struct {
	collections.Map[collections.Triple[uint64, uint32, []byte], []byte]
	limit Limit
}

// NewLog returns a Log that keeps its changes, and its Limit's counts, under three prefixes of a module's store.
func NewLog(sb *collections.SchemaBuilder, changes, accounts, block int) Log {
	return Log{
		Map: collections.NewMap(sb, collections.NewPrefix(changes), "changes",
			collections.TripleKeyCodec(collections.Uint64Key, collections.Uint32Key, collections.BytesKey), collections.BytesValue),
		limit: New(sb, accounts, block),
	}
}

// Record has the view of the epoch after e say c of a subject, at the cost of the account by: nil for what is
// nobody's message. A later change of the same subject in this epoch replaces it.
func (l Log) Record(ctx context.Context, e core.Epoch, region uint32, subject []byte, c *tally.Change, by []byte) error {
	at := collections.Join3(uint64(e)+1, region, subject)
	known, err := l.Has(ctx, at)
	if err != nil {
		return err
	}
	switch {
	case by == nil:
	case known:
		Replaced(ctx)
	default:
		if err := l.limit.Take(ctx, e, by); err != nil {
			return err
		}
	}
	return l.Set(ctx, at, core.Encode(c))
}

// After returns what the view of e says of a region differently than the view before, by subject. It begins
// after one (nil: with the first), ends after limit, and returns what names the last.
func (l Log) After(ctx context.Context, e core.Epoch, region core.Region, after []byte, limit int) (list []tally.Change, last []byte, err error) {
	r := new(collections.Range[collections.Triple[uint64, uint32, []byte]]).EndExclusive(collections.Join3(uint64(e), uint32(region)+1, []byte{}))
	if after == nil {
		r.StartInclusive(collections.Join3(uint64(e), uint32(region), []byte{}))
	} else {
		r.StartExclusive(collections.Join3(uint64(e), uint32(region), after))
	}
	if limit <= 0 {
		return nil, nil, nil
	}
	err = l.Walk(ctx, r, func(key collections.Triple[uint64, uint32, []byte], raw []byte) (bool, error) {
		var c tally.Change
		if err := core.Decode(raw, &c); err != nil {
			return true, err
		}
		list, last = append(list, c), key.K3()
		return len(list) == limit, nil
	})
	return list, last, err
}

// Forget forgets some of the changes of epochs before end, but none after the one that folded returns: a tally
// may still ask for those.
func (l Log) Forget(ctx context.Context, end uint64, folded func(context.Context) (core.Epoch, error)) error {
	var old []collections.Triple[uint64, uint32, []byte]
	err := l.Walk(ctx, nil, func(key collections.Triple[uint64, uint32, []byte], _ []byte) (bool, error) {
		if key.K1() >= end || len(old) == forgets {
			return true, nil
		}
		old = append(old, key)
		return false, nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	last, err := folded(ctx)
	for _, key := range old {
		if err == nil && key.K1() <= uint64(last) {
			err = l.Remove(ctx, key)
		}
	}
	return err
}
