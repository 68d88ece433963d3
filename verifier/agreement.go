package verifier

import (
	"context"
	"maps"
	"sync"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// agreement is what rounds, which make a tally, and watch, which looks at what the chain took, have in common: what
// they read, and what this verifier has computed itself.
type agreement struct {
	*self
	ledger   ledger.Ledger
	rules    *tally.Rules
	book     *ruleBook
	pool     tally.Pool
	clock    *clock
	mempools *mempools
	archive  *archive
	messages *messages
	sender   *sender
	abstains *abstentions

	mu       sync.Mutex
	computed map[types.Hash]*computed // not adopted yet, by header
	declined map[types.Hash]bool      // proposals that left out what was acknowledged; they are not signed late either
}

// note remembers what was computed of a header until the chain takes it.
func (a *agreement) note(c *computed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.computed[c.hash] = c
}

// noted returns what was computed of a header, nil if nothing was.
func (a *agreement) noted(header types.Hash) *computed {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.computed[header]
}

// forget forgets what was computed of headers up to an epoch: what the chain took of them is in the archive, or is
// found on the disk.
func (a *agreement) forget(upTo types.Epoch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.computed, func(_ types.Hash, c *computed) bool { return c.header.Epoch <= upTo })
}

// decline remembers a proposal that this verifier will not sign, late neither.
func (a *agreement) decline(header types.Hash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.declined) > pathStep {
		clear(a.declined) // the old ones take no more signatures
	}
	a.declined[header] = true
}

func (a *agreement) refuses(header types.Hash) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.declined[header]
}

// maxPending bounds the names of transactions that are remembered.
const maxPending = 1024

// sender sends transactions in the background.
type sender struct {
	*self
	ledger  ledger.Ledger
	sending sync.WaitGroup

	mu      sync.Mutex
	pending map[string]types.Epoch // transactions on their way or done, by name
}

// submit sends a transaction about an epoch, once at a time for each name, and does not repeat what succeeded.
func (s *sender) submit(ctx context.Context, e types.Epoch, name string, msgs ...ledger.Msg) {
	if !s.begin(e, name) {
		return
	}
	s.sending.Go(func() {
		if _, err := s.ledger.Submit(ctx, s.cfg.Account, msgs...); err != nil {
			s.log.Info("transaction refused", "what", name, "error", err)
			s.mu.Lock()
			delete(s.pending, name)
			s.mu.Unlock()
			return
		}
		s.log.Info("transaction taken", "what", name) // it stays in pending: it is done
	})
}

func (s *sender) begin(e types.Epoch, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pending[name]; ok || len(s.pending) >= maxPending {
		return false
	}
	maps.DeleteFunc(s.pending, func(_ string, of types.Epoch) bool { return of+pathStep < e })
	s.pending[name] = e
	return true
}
