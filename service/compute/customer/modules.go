package customer

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/fuel"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// Looking at a module takes up to some seconds of a processor, and whoever has an API key may bring one.
const (
	lookTime   = time.Minute // of a processor that an account's modules may take at once
	lookRefill = 20          // and again in so many times that
	maxLookers = 1 << 12     // accounts whose time is remembered; beyond it, all begin anew
)

// modules knows which modules can run. One is looked at at a time, and one of an account waits for that.
type modules struct {
	turn chan struct{} // holds one while a module is looked at

	mu      sync.Mutex
	most    int
	known   map[types.Hash]error // at most so many
	before  map[types.Hash]error // those of before it was full
	lookers map[types.Account]*looker
}

// looker is what an account's modules have taken.
type looker struct {
	busy  bool
	taken time.Duration
	at    time.Time // as of when
}

func newModules(most int) *modules {
	return &modules{turn: make(chan struct{}, 1), most: most, known: map[types.Hash]error{}, lookers: map[types.Account]*looker{}}
}

// verdict returns what is known of a module. m.mu is held.
func (m *modules) verdict(code types.Hash) (err error, known bool) {
	if err, known = m.known[code]; !known {
		if err, known = m.before[code]; known {
			m.keep(code, err)
		}
	}
	return err, known
}

func (m *modules) keep(code types.Hash, err error) {
	if len(m.known) >= (m.most+1)/2 {
		m.known, m.before = map[types.Hash]error{}, m.known
	}
	m.known[code] = err
}

// check looks once at a module whether it can run: who submits one that can't is told at once, and for nothing.
func (m *modules) check(account types.Account, code types.Hash, inputs *spool.Inputs) error {
	m.mu.Lock()
	if err, known := m.verdict(code); known {
		m.mu.Unlock()
		return err
	}
	l, err := m.begin(account, time.Now())
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.turn <- struct{}{} // it takes the module's length several times in memory
	begun := time.Now()
	verdict, err := look(code, inputs)
	<-m.turn
	m.mu.Lock()
	defer m.mu.Unlock()
	l.busy = false
	l.taken += time.Since(begun)
	if err != nil {
		return err
	}
	m.keep(code, verdict)
	return verdict
}

// begin lets an account have a module looked at. m.mu is held.
func (m *modules) begin(account types.Account, now time.Time) (*looker, error) {
	l := m.lookers[account]
	if l == nil {
		if len(m.lookers) >= maxLookers {
			for a, other := range m.lookers {
				if !other.busy {
					delete(m.lookers, a)
				}
			}
		}
		l = &looker{at: now}
		m.lookers[account] = l
	}
	l.taken -= min(l.taken, now.Sub(l.at)/lookRefill)
	l.at = now
	switch {
	case l.busy:
		return nil, types.Refuse(role.Busy, "compute: another new module of this account is being looked at")
	case l.taken >= lookTime:
		return nil, types.Refuse(role.Busy, "compute: it took %v to look at new modules of this account, which goes down by %v in a minute", l.taken.Round(time.Second), time.Minute/lookRefill)
	}
	l.busy = true
	return l, nil
}

// look reads a module, and says whether it can run.
func look(code types.Hash, inputs *spool.Inputs) (verdict, err error) {
	f, err := inputs.Open(code)
	if err != nil {
		return nil, types.Refuse(compute.InputMissing, "compute: module %v: %v", code, err)
	}
	defer f.Close() // only read
	raw, err := io.ReadAll(io.LimitReader(f, compute.MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("compute: module: %w", err)
	}
	_, verdict = fuel.Rewrite(raw)
	return verdict, nil
}
