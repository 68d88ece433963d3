package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

var (
	promiseBucket = []byte("promises") // payer ‖ session → promise
	endedBucket   = []byte("ended")    // payer ‖ category → what sessions promised that are forgotten, u64; category 0: what of it nobody claimed
)

// keepEnded is for how many epochs a session is remembered after its last one: until then no tally that may
// count a receipt of it is open.
const keepEnded = 24

// maxEnded bounds how many sessions are looked at for whether they have ended, at once.
const maxEnded = 10_000

// Promise is the newest receipt that a wallet signed in one session. It is forgotten with the session; what it
// promised is then a part of what the payer has promised in ended sessions.
type Promise struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Device   types.Key
	Amount   types.Credit // cumulative
}

// promise notes what a receipt promises; totals never fall.
func (s *store) promise(r *receipt.Receipt) error {
	key := append(r.Payer[:], r.Session[:]...)
	var old Promise
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(promiseBucket)
		if v := b.Get(key); v != nil {
			if err := types.Decode(v, &old); err != nil {
				return err
			}
		}
		if r.Amount < old.Amount {
			return types.Refuse(types.FallingTotals, "session %v: %d after %d", r.Session, r.Amount, old.Amount)
		}
		return b.Put(key, types.Encode(&Promise{Category: r.Category, Device: r.Device, Amount: r.Amount}))
	})
	if err != nil {
		return fmt.Errorf("gateway: note receipt: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums[r.Payer] += r.Amount - old.Amount
	return nil
}

// addUp sums what each payer has promised.
func (s *store) addUp() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(endedBucket).ForEach(func(k, v []byte) error {
			payer, category := types.Key(k[:32]), types.Category(binary.BigEndian.Uint16(k[32:]))
			if amount := types.Credit(binary.BigEndian.Uint64(v)); category != unclaimed {
				s.sums[payer] += amount
			} else {
				s.sums[payer] -= amount
			}
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(promiseBucket).ForEach(func(k, v []byte) error {
			var p Promise
			if err := types.Decode(v, &p); err != nil {
				return fmt.Errorf("promise %x: %w", k, err)
			}
			s.sums[types.Key(k[:32])] += p.Amount
			return nil
		})
	})
}

// forget forgets sessions that ended keepEnded epochs before now, as far as it gets with maxEnded of them. paid
// returns what receipts of a payer have spent, as a tally of now has it: once a payer has no session any more,
// what it promised beyond that will never be claimed, and is not promised any more.
func (s *store) forget(now types.Epoch, paid func(types.Key) (types.Credit, bool)) error {
	gone := map[types.Key]types.Credit{} // unclaimed
	err := s.db.Update(func(tx *bbolt.Tx) error {
		live, ended := tx.Bucket(promiseBucket), tx.Bucket(endedBucket)
		var old [][]byte
		c, steps := live.Cursor(), 0
		k, v := c.Seek(s.cursor)
		for ; k != nil && steps < maxEnded; k, v = c.Next() {
			steps++
			var session types.SessionID
			copy(session[:], k[32:])
			if session.Expiry()+keepEnded >= now {
				continue
			}
			var p Promise
			if err := types.Decode(v, &p); err != nil {
				return fmt.Errorf("promise %x: %w", k, err)
			}
			if err := add(ended, types.Key(k[:32]), p.Category, p.Amount); err != nil {
				return err
			}
			old = append(old, bytes.Clone(k))
		}
		s.cursor = bytes.Clone(k)
		for _, k := range old {
			if err := live.Delete(k); err != nil {
				return err
			}
		}
		for _, k := range old {
			payer := types.Key(k[:32])
			if next, _ := live.Cursor().Seek(payer[:]); next != nil && types.Key(next[:32]) == payer {
				continue
			}
			is, ok := paid(payer)
			if _, done := gone[payer]; done || !ok {
				continue
			}
			if sum := s.promised(payer); sum > is {
				gone[payer] = sum - is
				if err := add(ended, payer, unclaimed, sum-is); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("gateway: forget sessions: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for payer, amount := range gone {
		s.sums[payer] -= amount
	}
	return nil
}

// unclaimed stands in the place of a category for what nobody claimed.
const unclaimed types.Category = 0

func add(ended *bbolt.Bucket, payer types.Key, c types.Category, amount types.Credit) error {
	key := binary.BigEndian.AppendUint16(payer[:], uint16(c))
	if old := ended.Get(key); old != nil {
		amount += types.Credit(binary.BigEndian.Uint64(old))
	}
	return ended.Put(key, binary.BigEndian.AppendUint64(nil, uint64(amount)))
}

// promised returns what a payer has promised in all its sessions, ever, less what will never be claimed.
func (s *store) promised(payer types.Key) types.Credit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sums[payer]
}

// promises visits what a payer has promised, session by session, and last of each category, without a device,
// what it promised in sessions that are forgotten.
func (s *store) promises(payer types.Key, visit func(Promise)) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(promiseBucket).Cursor()
		for k, v := c.Seek(payer[:]); k != nil && types.Key(k[:32]) == payer; k, v = c.Next() {
			var p Promise
			if err := types.Decode(v, &p); err != nil {
				return fmt.Errorf("gateway: promise %x: %w", k, err)
			}
			visit(p)
		}
		c = tx.Bucket(endedBucket).Cursor()
		for k, v := c.Seek(payer[:]); k != nil && types.Key(k[:32]) == payer; k, v = c.Next() {
			if category := types.Category(binary.BigEndian.Uint16(k[32:])); category != unclaimed {
				visit(Promise{Category: category, Amount: types.Credit(binary.BigEndian.Uint64(v))})
			}
		}
		return nil
	})
}

// askPayers asks the verifiers what this gateway's payers have left.
func (m *market) askPayers(ctx context.Context) error {
	payers, err := m.store.payers()
	if err != nil || len(payers) == 0 {
		return err
	}
	q := m.agent.Quorum()
	q.Wait = 2 * time.Second
	now := m.Notice().Epoch
	states, err := q.Payers(ctx, now, payers)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.asked = now
	}
	for _, state := range states {
		m.payers[state.Key] = state
	}
	if types.ReasonOf(err) == types.BusUnavailable {
		m.log.Debug("gateway: what some payers have left is not to be had", "err", err) // the next notice asks again
		return nil
	}
	return err
}

// paid returns what receipts of a payer have spent, as of the newest tally, if verifiers have said so in this epoch.
func (m *market) paid(payer types.Key) (types.Credit, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	state, ok := m.payers[payer]
	return state.Paid(), ok && m.asked == m.notice.Epoch && m.notice.Tallied+keepEnded/2 > m.notice.Epoch
}

// maxQualities bounds how many devices' qualities are asked for in one epoch.
const maxQualities = 1000

// askQuality asks for the quality of the devices that offer something, as more than two thirds of power say: by
// it offers are ordered.
func (m *market) askQuality(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	m.mu.RLock()
	tallied := m.notice.Tallied
	m.mu.RUnlock()
	if tallied == 0 {
		return
	}
	q := m.agent.Quorum()
	q.Wait = time.Second
	for _, device := range m.askers() {
		answer, err := q.Refusals(ctx, device, tallied)
		if err != nil {
			continue
		}
		m.mu.Lock()
		for _, q := range answer.Quality {
			m.quality[serving{device, q.Category}] = q.Bp
		}
		m.mu.Unlock()
	}
}

// askers returns at most maxQualities of the devices that the gateway remembers asks of, and forgets the
// quality of all that it does not.
func (m *market) askers() []types.Key {
	known := map[types.Key]bool{}
	for _, o := range m.asks {
		for _, device := range o.anywhere.Devices(maxAnywhere) {
			known[device] = true
		}
	}
	m.mu.Lock()
	maps.DeleteFunc(m.quality, func(s serving, _ types.Bp) bool { return !known[s.device] })
	m.mu.Unlock()
	list := slices.Collect(maps.Keys(known))
	return list[:min(len(list), maxQualities)]
}
