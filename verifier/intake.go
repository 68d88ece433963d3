package verifier

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of what is on its way, over all steps. Beyond them submissions are dropped: authors send again what
// nobody acknowledged. Each author may have a quarter of what is left, so that whoever sends too much keeps
// nobody else out, and many who do leave room, too.
const (
	queued      = bus.Pending // submissions
	queuedBytes = 64 << 20    // of them
	itemBytes   = 192         // what an item takes beside its encoding
	written     = 1024        // submissions that are written together
)

// Bounds of the orders that are kept in one epoch beside the payer's quota. Of an account, over all its keys,
// they are as many as a state remembers, and those that begin a session as many as it has credits for. Of a
// payer as many may begin a session as an account can have: anybody can hand in again what a tally refused, and
// the rest of the quota is for changing and cancelling what acts, of which no copy is taken twice.
const (
	maxAccountOrders = 16 * receipt.MaxOrders
	maxBegun         = receipt.MaxOrders
)

// intake takes submissions through four steps: decode and check (workers), keep (one keeper, which alone writes
// the mempool), acknowledge (workers).
type intake struct {
	*self
	rules    *ruleBook
	mempools *mempools

	now atomic.Pointer[headView] // nil until there is one; that of a new epoch is set under mu

	arrived chan *submission
	checked chan []*submission
	kept    chan []*submission
	room    *room // for what is on its way; a cache line of its own, which everybody writes

	accepted, refused, malformed, dropped atomic.Uint64 // see Stats

	mu     sync.Mutex               // held by the keeper while it writes, and when the epoch turns
	open   *mempool                 // of the current epoch
	prev   *mempool                 // of the epoch before; nil at first
	orders map[types.Account]int    // in open, since this process began
	begun  map[types.Key]int        // of them those that begin a session, by payer
	backed map[types.Account]uint64 // how many least opening amounts they need behind them
}

// Stats counts what a verifier did since it started.
type Stats struct {
	Accepted  uint64 // items acknowledged, those that were sent again included
	Refused   uint64 // items refused with a reason
	Malformed uint64 // submissions that could not be read, and were not answered
	Waiting   uint64 // bytes of submissions on their way
	Dropped   uint64 // submissions of authors that had too many on their way
	Signed    uint64 // headers that it signed in time
}

func (in *intake) stats() Stats {
	return Stats{Accepted: in.accepted.Load(), Refused: in.refused.Load(), Malformed: in.malformed.Load(), Waiting: uint64(in.room.load().bytes), Dropped: in.dropped.Load()}
}

// submission is one Submit on its way.
type submission struct {
	author types.Key // whose subject it came under, and who gets the ack
	items  []bus.Item
	bytes  int

	hashes   []types.Hash
	verdicts []types.Reason // "": accepted in epochs[i]
	epochs   []types.Epoch
	open     []*item // what is to be kept; nil for what was refused or known
}

func newIntake(s *self, rules *ruleBook, mempools *mempools) *intake {
	return &intake{
		self: s, rules: rules, mempools: mempools,
		arrived: make(chan *submission, queued), checked: make(chan []*submission, s.cfg.Workers), kept: make(chan []*submission, s.cfg.Workers),
		room: &room{of: map[types.Key]load{}},
	}
}

// run works until ctx ends. It subscribes first, and returns an error only if it cannot.
func (in *intake) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range in.cfg.Workers {
		wg.Go(func() { in.check(ctx) })
		wg.Go(func() { in.acknowledge(ctx) })
	}
	wg.Go(func() { in.keep(ctx) })
	err := in.bus.Subscribe(ctx, bus.SubmitSubject(types.Key{}, in.cfg.Region), in.arrive)
	if err != nil {
		cancel()
		err = fmt.Errorf("verifier: listen to authors: %w", err)
	}
	wg.Wait()
	return err
}

// arrive takes a message from the bus. It never waits: behind it are the messages of everybody else.
func (in *intake) arrive(m bus.Message) {
	author, err := bus.ParseWord(bus.Owner(m.Subject))
	if err == nil && !in.room.admit(author, len(m.Data)) { // before it costs anything
		in.dropped.Add(1)
		return
	}
	var s *bus.Submit
	if err == nil {
		if s, err = bus.Decode[bus.Submit](m.Data, in.chain); err != nil {
			in.room.add(author, load{-1, -len(m.Data)})
		}
	}
	if err != nil {
		in.malformed.Add(1)
		in.log.Debug("dropped a submission", "subject", m.Subject, "error", err)
		return
	}
	sub := &submission{author: author, items: s.Items, bytes: len(m.Data) + itemBytes*len(s.Items)}
	in.room.add(author, load{0, sub.bytes - len(m.Data)})
	in.arrived <- sub // has room for all that is admitted
}

func (in *intake) done(subs []*submission) {
	for _, s := range subs {
		in.room.add(s.author, load{-1, -s.bytes})
	}
}

// load is how much is on its way.
type load struct{ count, bytes int }

func (l load) plus(m load) load { return load{l.count + m.count, l.bytes + m.bytes} }

// room counts what is on its way over all steps, against the bounds.
type room struct {
	mu      sync.Mutex
	waiting load
	of      map[types.Key]load // authors with something waiting
}

// admit makes room for a submission of so many bytes, if its author has not too many on their way.
func (r *room) admit(author types.Key, bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.of[author]
	if mine.count+1 > (queued-r.waiting.count+3)/4 || mine.bytes+bytes > (queuedBytes-r.waiting.bytes)/4 {
		return false
	}
	r.of[author], r.waiting = mine.plus(load{1, bytes}), r.waiting.plus(load{1, bytes})
	return true
}

// add changes what of an author is on its way.
func (r *room) add(author types.Key, l load) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = r.waiting.plus(l)
	if r.of[author] = r.of[author].plus(l); r.of[author].count == 0 {
		delete(r.of, author)
	}
}

func (r *room) load() load {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// gather returns submissions of up to BatchSize items: the first one that comes, and what waits behind it.
func gather(ctx context.Context, from <-chan *submission) []*submission {
	var out []*submission
	n := 0
	select {
	case s := <-from:
		out, n = append(out, s), len(s.items)
	case <-ctx.Done():
		return nil
	}
	for n < BatchSize {
		select {
		case s := <-from:
			out, n = append(out, s), n+len(s.items)
		default:
			return out
		}
	}
	return out
}

// check decodes and judges submissions, and checks their signatures together.
func (in *intake) check(ctx context.Context) {
	for {
		subs := gather(ctx, in.arrived)
		if subs == nil {
			return
		}
		if now := in.now.Load(); now != nil {
			in.judge(now, subs)
		} else {
			for _, s := range subs {
				s.postpone(in)
			}
		}
		select {
		case in.checked <- subs:
		case <-ctx.Done():
			return
		}
	}
}

// postpone leaves all items of s undecided.
func (s *submission) postpone(in *intake) {
	s.grow()
	for i := range s.items {
		s.hashes[i], s.verdicts[i] = s.items[i].Hash(), later
	}
}

func (s *submission) grow() {
	n := len(s.items)
	s.hashes, s.verdicts, s.epochs, s.open = make([]types.Hash, n), make([]types.Reason, n), make([]types.Epoch, n), make([]*item, n)
}

func (in *intake) judge(now *headView, subs []*submission) {
	current, before := in.pools()
	var pending []*item
	for _, s := range subs {
		s.grow()
		for i := range s.items {
			it, err := open(tally.ItemType(s.items[i].Type), s.items[i].Raw, in.chain)
			s.hashes[i] = it.Hash
			switch {
			case err != nil && mistyped(&s.items[i], in.chain):
				s.verdicts[i] = types.NotPermitted
			case err != nil:
				s.verdicts[i] = reasonOf(err)
			case (it.Type == tally.Receipt || it.Type == tally.Ask) && it.Author != s.author:
				// They are good in any later epoch too: somebody else could use up the author's quota with old ones.
				s.verdicts[i] = types.NotPermitted
			case current != nil && current.has(it.Hash):
				s.epochs[i] = current.epoch
			case it.Type == tally.Evidence && before != nil && before.has(it.Hash):
				s.epochs[i] = before.epoch // the author did not hear the ack; receipts and asks it may mean anew
			default:
				if s.verdicts[i] = now.check(it, in.rules); s.verdicts[i] == "" {
					s.open[i] = it
					pending = append(pending, it)
				}
			}
		}
	}
	ok := checkAll(pending)
	at := 0
	for _, s := range subs {
		for i := range s.open {
			if s.open[i] == nil {
				continue
			}
			if !ok[at] {
				s.open[i], s.verdicts[i] = nil, types.BadSignature
			}
			at++
		}
	}
}

// mistyped reports whether an item that does not decode does under another type. A refusal names nothing but
// the bytes, and what is wrong with their form is wrong for good: whoever hears an item on its way could have
// it refused, and pass that on to its author.
func mistyped(it *bus.Item, chain string) bool {
	for t := tally.Evidence; t <= tally.Ask; t++ {
		if t != it.Type {
			if _, err := open(t, it.Raw, chain); err == nil {
				return true
			}
		}
	}
	return false
}

// reasonOf is the reason of a decoding error.
func reasonOf(err error) types.Reason {
	if r := types.ReasonOf(err); r != "" {
		return r
	}
	return types.BadEncoding
}

func (in *intake) pools() (current, before *mempool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.open, in.prev
}

// turn makes now what intake goes by; at an epoch's first view it opens the mempool that is written from then
// on, and goes on acknowledging again what is in the one before. When the view is seen, nothing more enters any
// other mempool: a round reads the one before at once.
func (in *intake) turn(now *headView) error {
	e := now.epoch.Epoch
	next, err := in.mempools.make(e)
	if err != nil {
		return err
	}
	in.mempools.bound(now.last, e)
	if old := in.now.Load(); old != nil && old.epoch.Epoch == e {
		in.now.Store(now) // without waiting for the disk
		return nil
	}
	before := in.mempools.of(e - 1)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.now.Store(now)
	in.prev, in.open = before, next
	in.orders, in.begun, in.backed = map[types.Account]int{}, map[types.Key]int{}, map[types.Account]uint64{}
	return nil
}

// keep writes what passed, syncs, and hands on to the acknowledgers. Whatever waits is written in one go.
func (in *intake) keep(ctx context.Context) {
	for {
		var subs []*submission
		select {
		case subs = <-in.checked:
		case <-ctx.Done():
			return
		}
		for more := true; more && len(subs) < written; {
			select {
			case s := <-in.checked:
				subs = append(subs, s...)
			default:
				more = false
			}
		}
		in.write(subs)
		select {
		case in.kept <- subs:
		case <-ctx.Done():
			return
		}
	}
}

// write keeps the items of subs, lowest sequence numbers first, and syncs.
func (in *intake) write(subs []*submission) {
	in.mu.Lock()
	defer in.mu.Unlock()
	type place struct{ sub, item int }
	var items []*item
	var places []place
	now := in.now.Load()
	for k, s := range subs {
		for i, it := range s.open {
			if it == nil {
				if s.verdicts[i] == "" && in.open != nil && s.epochs[i] == in.open.epoch && !in.open.has(s.hashes[i]) {
					s.verdicts[i] = later // it was known while it was being written, and that failed
				}
				continue
			}
			// The epoch may have turned since the item was judged.
			if now == nil || in.open == nil || in.open.epoch != now.epoch.Epoch {
				s.verdicts[i] = later
			} else if s.verdicts[i] = now.check(it, in.rules); s.verdicts[i] == "" && !in.allow(now, it) {
				s.verdicts[i] = types.OverQuota
			} else if s.verdicts[i] == "" {
				items, places = append(items, it), append(places, place{k, i})
			}
		}
	}
	if len(items) == 0 {
		return
	}
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return items[a].Name.Compare(&items[b].Name) })
	sorted := make([]*item, len(items))
	for i, at := range order {
		sorted[i] = items[at]
	}
	verdicts := in.open.keep(sorted, in.rules)
	err := in.open.sync()
	if err != nil {
		in.log.Error("the intake log cannot be written: nothing is acknowledged", "error", err)
	}
	for i, at := range order {
		s, n := subs[places[at].sub], places[at].item
		s.verdicts[n], s.epochs[n] = verdicts[i], in.open.epoch
		if err != nil && verdicts[i] == "" {
			s.verdicts[n] = reasonOfIO(err)
		}
	}
}

// allow counts an order, and reports whether its account and its payer may hand in that many. mu is held.
func (in *intake) allow(now *headView, it *item) bool {
	if it.Type != tally.Order {
		return true
	}
	account := now.registry.Grant(it.Author).Account
	old := now.registry.base.Order(tally.SessionKey{Payer: it.Author, ID: it.session})
	if in.orders[account] >= maxAccountOrders || old == nil && (in.begun[it.Author] >= maxBegun || in.backed[account]+it.units > now.units(account)) {
		return false
	}
	in.orders[account]++
	if old == nil {
		in.begun[it.Author]++
		in.backed[account] += it.units
	}
	return true
}

// acknowledge answers.
func (in *intake) acknowledge(ctx context.Context) {
	for {
		select {
		case subs := <-in.kept:
			in.answer(ctx, subs)
			in.done(subs)
		case <-ctx.Done():
			return
		}
	}
}

// ackKey is for whom an ack is, and in whose batch what it accepts will be.
type ackKey struct {
	author types.Key
	epoch  types.Epoch
}

// answer sends the acks of submissions that were kept together: one for each author and epoch, as signing them
// costs more than anything else once signatures are checked many at a time.
func (in *intake) answer(ctx context.Context, subs []*submission) {
	acks := map[ackKey]*bus.Ack{}
	var current types.Epoch
	if now := in.now.Load(); now != nil {
		current = now.epoch.Epoch
	}
	of := func(author types.Key, e types.Epoch) *bus.Ack {
		key := ackKey{author, e}
		a := acks[key]
		if a != nil && len(a.Accepted)+len(a.Refused) == bus.MaxItems {
			in.send(ctx, author, a)
			a = nil
		}
		if a == nil {
			a = &bus.Ack{Chain: in.chain, Epoch: e, Region: in.cfg.Region}
			acks[key] = a
		}
		return a
	}
	for _, s := range subs {
		for i, v := range s.verdicts {
			switch v {
			case "":
				in.accepted.Add(1)
				a := of(s.author, s.epochs[i])
				a.Accepted = append(a.Accepted, s.hashes[i])
			case later:
			default:
				in.refused.Add(1)
				a := of(s.author, current)
				a.Refused = append(a.Refused, bus.Refusal{Item: s.hashes[i], Reason: v})
			}
		}
	}
	for key, a := range acks {
		in.send(ctx, key.author, a)
	}
}

// send seals an ack and publishes it. One that is lost is asked for by sending the items again.
func (in *intake) send(ctx context.Context, author types.Key, a *bus.Ack) {
	if err := in.bus.Publish(ctx, bus.AckSubject(in.key, author), bus.Seal(in.cfg.Key, a)); err != nil && ctx.Err() == nil {
		in.log.Debug("an ack was not sent", "author", author, "error", err)
	}
}
