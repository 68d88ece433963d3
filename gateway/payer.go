package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
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
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(promiseBucket)
		var old Promise
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
	return nil
}

// promised sums what a payer has promised in all its sessions, ever.
func (s *store) promised(payer types.Key) (sum types.Credit, err error) {
	err = s.promises(payer, func(p Promise) { sum += p.Amount })
	return sum, err
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

// askPayers asks the verifiers what this gateway's payers have left. A line counts once more than two thirds of power gave it.
func (m *market) askPayers(ctx context.Context) error {
	payers, err := m.store.payers()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(payers, bus.MaxPayers) {
		query := bus.PayersQuery{Chain: m.chain, Payers: some}
		votes := map[bus.PayerLine]uint64{}
		voted := map[types.Key]bool{}
		wait, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := m.bus.Gather(wait, bus.QuerySubject(m.key.Public(), 0, bus.QueryPayers), bus.Encode(&query), func(raw []byte) bool {
			return m.count(raw, some, votes, voted)
		})
		cancel()
		if err != nil && wait.Err() == nil {
			return fmt.Errorf("payers: %w", err)
		}
	}
	return nil
}

// count takes in one verifier's answer; it returns whether more are needed. Only a line at its place counts, or one verifier could say it
// many times in one answer. What was said two epochs ago does not count: whoever asked then can repeat it, seals and all. That of the epoch
// before does, as verifiers see an epoch's first block a little later than others.
func (m *market) count(raw []byte, asked []types.Key, votes map[bus.PayerLine]uint64, voted map[types.Key]bool) bool {
	answer, from, err := bus.Open[bus.Payers](raw, m.chain)
	if err != nil || answer.Region != 0 || len(answer.Lines) != len(asked) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if voted[from] || answer.Epoch+1 < m.notice.Epoch || m.verifier[from] == 0 {
		return true
	}
	voted[from] = true
	var total uint64
	for _, p := range m.verifier {
		total += p
	}
	agreed := 0
	for i, line := range answer.Lines {
		if line.Key != asked[i] {
			continue
		}
		if votes[line] += m.verifier[from]; bus.TwoThirds(votes[line], total) {
			m.payers[line.Key] = line
			agreed++
		}
	}
	return agreed < len(asked)
}

// maxQualities bounds how many devices' qualities are asked for in one epoch.
const maxQualities = 1000

// askQuality asks for the quality of the devices that offer something, as more than two thirds of power say: by it offers are ordered.
func (m *market) askQuality(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	m.mu.RLock()
	tallied := m.notice.Tallied
	seen := map[types.Key]bool{}
	for at := range m.asks {
		if len(seen) < maxQualities {
			seen[at.device] = true
		}
	}
	m.mu.RUnlock()
	if tallied == 0 {
		return
	}
	for device := range seen {
		one, cancel := context.WithTimeout(ctx, time.Second)
		answer, err := m.refusals(one, device, tallied)
		cancel()
		if err != nil {
			continue
		}
		m.mu.Lock()
		for _, q := range answer.Quality {
			m.quality[offer{device, q.Category, 0}] = q.Bp
		}
		m.mu.Unlock()
	}
}
