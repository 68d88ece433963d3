package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

var promiseBucket = []byte("promises") // payer ‖ session → promise

// Promise is the newest receipt that a wallet signed in one session.
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

// promised returns what a payer has promised in all its sessions, ever.
func (s *store) promised(payer types.Key) types.Credit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sums[payer]
}

// promises visits what a payer has promised, session by session.
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
	lines, err := q.Payers(ctx, m.Notice().Epoch, payers)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, line := range lines {
		m.payers[line.Key] = line
	}
	if types.ReasonOf(err) == types.BusUnavailable {
		m.log.Debug("gateway: what some payers have left is not to be had", "err", err) // the next notice asks again
		return nil
	}
	return err
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
	for _, o := range m.offers {
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
