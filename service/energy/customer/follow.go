package customer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// behind is how many epochs a gateway that was away reads: verifiers keep outputs for about as long.
	behind = 200
	// apart is up to how many orders their statements are asked for one by one; beyond it all of a tally's are,
	// which is one question.
	apart = 32
	// readTimeout bounds the reading of one epoch.
	readTimeout = 30 * time.Second
)

// follow reads what the tallies put out: those that are final once, in order; those that may yet be voided as
// soon as they are there, and again when they are final or gone.
func (c *Customer) follow(ctx context.Context, n role.Notice) error {
	done, err := c.books.final()
	if err != nil {
		return err
	}
	if n.Final > behind {
		done = max(done, n.Final-behind)
	}
	for e := done + 1; e <= n.Final && ctx.Err() == nil; e++ {
		if err := c.settle(ctx, e); err != nil {
			return err
		}
		if err := c.books.advance(e); err != nil {
			return err
		}
	}
	newest := max(n.Tallied, n.Final)
	open, err := c.books.open()
	if err != nil {
		return err
	}
	for _, e := range open {
		if e > newest { // the header was voided
			if err := c.books.close(e, true); err != nil {
				return err
			}
		}
	}
	for e := max(done, n.Final) + 1; e <= newest && ctx.Err() == nil; e++ {
		if slices.Contains(open, e) {
			continue
		}
		err := c.take(ctx, e, false)
		if reason := types.ReasonOf(err); err != nil && reason != types.RegionSkipped && reason != types.UnknownBlob {
			return fmt.Errorf("energy: outputs of epoch %d: %w", e, err)
		}
	}
	return nil
}

// nothing is what no output starts with: asking for it asks only whether the epoch has a header.
var nothing = []byte("\xff\xff")

// settle takes in an epoch that is final.
func (c *Customer) settle(ctx context.Context, e types.Epoch) error {
	known, err := c.books.read(e)
	if err != nil {
		return err
	}
	if known {
		_, err = c.market.Outputs(ctx, e, nothing)
	} else {
		err = c.take(ctx, e, true)
	}
	switch reason := types.ReasonOf(err); {
	case reason == types.RegionSkipped:
		return c.books.close(e, true)
	case reason == types.UnknownBlob:
		if !known {
			c.market.Log().Warn("energy: nobody keeps an epoch's outputs any more; what orders bought in it is not in the books", "epoch", e)
		}
	case err != nil:
		return fmt.Errorf("energy: outputs of epoch %d: %w", e, err)
	}
	return c.books.close(e, false)
}

// take reads an epoch's outputs into the books: the statements of the orders in them, all prices, all sheets.
func (c *Customer) take(ctx context.Context, e types.Epoch, final bool) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	accounts, prefixes, err := c.sessions(e)
	if err != nil {
		return err
	}
	var got []role.Output
	for _, prefix := range append(prefixes, energy.MarketPrefix(), lot.AnyPrefix()) {
		some, err := c.market.Outputs(ctx, e, prefix)
		if err != nil {
			return err
		}
		got = append(got, some...)
	}
	t := taking{epoch: e, final: final, accounts: accounts}
	err = c.books.update("take an epoch in", func(tx *bbolt.Tx) error {
		for i := range got {
			if err := t.output(tx, &got[i]); err != nil {
				return fmt.Errorf("output %d: %w", got[i].Index, err)
			}
		}
		if final {
			return nil
		}
		return tx.Bucket(epochBucket).Put(u64(uint64(e)), nil)
	})
	if err == nil && t.foul > 0 {
		c.market.Log().Warn("energy: outputs whose details are missing or are not what they say", "epoch", e, "count", t.foul)
	}
	return err
}

// sessions returns whose each session is that may have bought something in an epoch, and the prefixes of their
// statements.
func (c *Customer) sessions(e types.Epoch) (map[tally.SessionKey]types.Account, [][]byte, error) {
	records, err := c.books.orders(types.Account{})
	if err != nil {
		return nil, nil, err
	}
	accounts := map[tally.SessionKey]types.Account{}
	var prefixes [][]byte
	for _, r := range records {
		if o := &r.Signed.Order; o.First <= e && o.Session.Expiry() >= e {
			accounts[r.key()] = r.Account
			prefixes = append(prefixes, energy.StatementPrefix(o.Payer, o.Session))
		}
	}
	if len(prefixes) > apart {
		prefixes = [][]byte{energy.StatementPrefix(types.Key{}, types.SessionID{})[:2]}
	}
	return accounts, prefixes, nil
}

// taking is one epoch on its way into the books.
type taking struct {
	epoch    types.Epoch
	final    bool
	accounts map[tally.SessionKey]types.Account
	foul     int // outputs without what they commit to
}

func (t *taking) output(tx *bbolt.Tx, o *role.Output) error {
	l := types.Encode(&leaf{Epoch: o.Epoch, Region: o.Region, Index: o.Index, Data: o.Data, Detail: o.Detail, Siblings: o.Siblings})
	if s, err := energy.DecodeStatement(o.Data); err == nil {
		return t.statement(tx, s, o, l)
	}
	if m, err := energy.DecodeMarket(o.Data); err == nil {
		key := binary.BigEndian.AppendUint16(append(u64(m.K), u64(uint64(m.Zone))...), uint16(m.Class))
		return t.row(tx, priceBucket, all, append(key, u64(uint64(t.epoch))...), o.Data, maxPrices)
	}
	s, err := lot.Decode(o.Data)
	if err != nil {
		return nil // a kind of output that came later
	}
	if lots, err := lot.DecodeLots(o.Detail); err != nil || !s.Matches(lots) {
		t.foul++
		return nil
	}
	key := binary.BigEndian.AppendUint32(slices.Clone(s.Device[:]), s.Day)
	if err := tx.Bucket(ageBucket).Put(append(u64(uint64(t.epoch)), key...), nil); err != nil {
		return err
	}
	return errors.Join(t.row(tx, sheetBucket, all, key, l, 1<<62), t.age(tx))
}

// statement takes in what an order bought, or why it did not act.
func (t *taking) statement(tx *bbolt.Tx, s *energy.Statement, o *role.Output, l []byte) error {
	account, ours := t.accounts[tally.SessionKey{Payer: s.Payer, ID: s.Session}]
	if !ours {
		return nil
	}
	if s.Reason != "" {
		return tx.Bucket(idleBucket).Put(s.Session[:], types.Encode(&idle{Epoch: t.epoch, Reason: s.Reason}))
	}
	if sales, err := energy.DecodeSales(o.Detail); err != nil || !s.Matches(sales) {
		t.foul++ // the leaf alone still proves how much was bought and for what
	}
	key := append(u64(uint64(t.epoch)), s.Session[:]...)
	return t.row(tx, statementBucket, account[:], binary.BigEndian.AppendUint32(key, s.Part), l, maxStatements)
}

// row puts a row where it belongs, and notes it where the epoch may yet be voided.
func (t *taking) row(tx *bbolt.Tx, bucket, name, key, value []byte, most uint64) error {
	in, err := rows(tx, bucket, name, true)
	if err != nil {
		return err
	}
	if err := put(in, key, value, most); err != nil || t.final {
		return err
	}
	at := append(u64(uint64(t.epoch)), types.Encode(&place{In: bucket, Name: name, Key: key})...)
	return tx.Bucket(openBucket).Put(at, nil)
}

// age lets sheets go that the chain takes no more, and the oldest where there are too many.
func (t *taking) age(tx *bbolt.Tx) error {
	in, err := rows(tx, sheetBucket, all, true)
	if err != nil {
		return err
	}
	ages := tx.Bucket(ageBucket)
	for {
		k, _ := ages.Cursor().First()
		if len(k) != 8+32+4 || in.Sequence() <= maxSheets && types.Epoch(binary.BigEndian.Uint64(k))+sheetEpochs >= t.epoch {
			return nil
		}
		k = slices.Clone(k)
		if err := errors.Join(remove(in, k[8:]), ages.Delete(k)); err != nil {
			return err
		}
	}
}
