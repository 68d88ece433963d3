package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Bounds of what is asked of a device.
const (
	deskSlots     = 64 // requests that are served at a time; of one publisher at most half of the places that are left
	deskVerifiers = 16 // the same of verifiers, beside those
	deskPieces    = 16 // the same of requests for pieces of blobs, whoever asks, beside those
	deskRate      = 200
	deskBurst     = 400 // requests of one publisher that are looked at: so many at once, then deskRate a second; as many again are told so, others are dropped unread
	deskLookups   = 8   // payers that verifiers are asked about at a time, of one publisher at most two
	deskStrangers = 16  // payers whom nobody granted that one publisher may bring in a minute; then only those who are known
	deskSenders   = 4096
	deskSeen      = 1 << 16  // requests that are remembered, of one publisher at most a quarter of the room that is left
	deskAnswer    = 16 << 10 // bytes of an answer that is remembered
	deskAnswers   = 16 << 20 // of all of them
	deskAgain     = 4        // copies of one request that wait for its answer
	deskWord      = "served" // the name of what the desk keeps on disk
)

// What was served is remembered until its time is refused (bus.Timely). The device writes down, ahead by
// deskStep, up to which time it has served: after a restart, where it remembers nothing, nothing older is
// served.
const deskStep = 5 * time.Second

// desk serves the requests that come to this device. All methods are safe for concurrent use.
type desk struct {
	node *Node
	now  func() time.Time

	mu        sync.Mutex // guards what follows
	senders   map[types.Key]*sender
	verifiers pool
	others    pool
	pieces    pool
	lookups   int
	seen      map[asked]*served
	order     []*served // of seen, in the order in which they came
	kept      int       // bytes of answers
	floor     uint64    // nothing of this time or before is served
	mark      uint64    // what is on disk: a floor for after a restart
}

// pool is how many requests are served at a time.
type pool struct{ taken, most int }

// sender is one who is logged on and publishes requests.
type sender struct {
	due       time.Time // when it will have its whole burst again
	told      time.Time // the same, of answers that it asks too often
	serving   int
	lookups   int
	seen      int
	strangers int
	since     time.Time // when strangers began to count
}

// asked names a request.
type asked struct {
	from types.Key
	id   [16]byte
}

// served is a request that was served, or is.
type served struct {
	name    asked
	by      types.Key // who published it
	hash    types.Hash
	time    uint64 // its own
	until   time.Time
	done    bool
	answer  []byte        // sealed; nil if it is too long to be remembered
	waiting []bus.Message // copies of it
}

func newDesk(n *Node) *desk {
	d := &desk{node: n, now: time.Now, senders: map[types.Key]*sender{}, seen: map[asked]*served{},
		verifiers: pool{most: deskVerifiers}, others: pool{most: deskSlots}, pieces: pool{most: deskPieces}}
	if raw := n.outbox.Get(deskWord); len(raw) == 8 {
		d.floor = binary.BigEndian.Uint64(raw)
		d.mark = d.floor
	}
	return d
}

func (d *desk) time() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now()
}

// open takes requests until ctx ends.
func (d *desk) open(ctx context.Context, b bus.Bus) error {
	return bus.SubscribeFair(ctx, b, bus.RequestSubject(types.Key{}, b.Key()), func(m bus.Message) { d.take(ctx, b, m) })
}

// request is one that is looked at.
type request struct {
	*bus.Asked
	by       types.Key // who is logged on
	message  bus.Message
	bus      bus.Bus
	came     time.Time
	runner   *runner
	handler  role.RequestHandler
	verifier bool
	pool     *pool
	served   *served
}

// until is when who asks stops waiting.
func (r *request) until() time.Time { return r.came.Add(time.Duration(r.Wait) * time.Millisecond) }

// take looks at a message: what is not a request to this device that somebody signed costs no more than that,
// and is not answered.
func (d *desk) take(ctx context.Context, b bus.Bus, m bus.Message) {
	by, err := bus.ParseWord(bus.Owner(m.Subject))
	if err != nil || !bus.Expects(m) {
		return
	}
	is, told := d.allow(by)
	if !is && !told {
		return
	}
	a, err := bus.ReadRequest(m.Data, d.node.agent.Chain())
	if err != nil || a.Device != d.node.Key() {
		return
	}
	r := &request{Asked: a, by: by, message: m, bus: b, came: d.time()}
	if told {
		d.refuse(r, types.Refuse(types.DeviceBusy, "too many requests of %v", by))
		return
	}
	if d.again(r) || !a.Verify() {
		return
	}
	if err := d.check(r); err != nil {
		d.refuse(r, err)
		return
	}
	switch known, err := d.admit(r); {
	case err != nil:
		d.refuse(r, err)
	case known:
		d.begin(ctx, r)
	case d.lookUp(r.by):
		go func() {
			_, err := r.runner.Payer(ctx, r.From)
			d.lookedUp(r.by, err)
			if err == nil {
				_, err = d.admit(r)
			}
			if err != nil {
				d.refuse(r, err)
				return
			}
			d.begin(ctx, r)
		}()
	default:
		d.refuse(r, types.Refuse(types.DeviceBusy, "too many payers are unknown"))
	}
}

// allow takes one of a publisher's tries. Of one that has used them up as many again are answered (told), so
// that it knows, and the others are not.
func (d *desk) allow(by types.Key) (is, told bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	s := d.senders[by]
	if s == nil {
		if len(d.senders) >= deskSenders && !d.forget(now) {
			return false, false
		}
		s = new(sender)
		d.senders[by] = s
	}
	if try(&s.due, now) {
		return true, false
	}
	return false, try(&s.told, now)
}

// try takes one of deskBurst tries, of which deskRate a second come back: the generic cell rate algorithm of
// ITU-T I.371, which keeps of them when all will be back.
func try(due *time.Time, now time.Time) bool {
	const each = time.Second / deskRate
	if due.Before(now) {
		*due = now
	}
	if due.Sub(now) > (deskBurst-1)*each {
		return false
	}
	*due = due.Add(each)
	return true
}

// forget forgets a publisher of whom nothing counts any more, of a few that chance picks. mu is held.
func (d *desk) forget(now time.Time) bool {
	looked := 0
	for key, s := range d.senders {
		if s.serving == 0 && s.lookups == 0 && s.seen == 0 && s.due.Before(now) && now.Sub(s.since) > time.Minute {
			delete(d.senders, key)
			return true
		}
		if looked++; looked == 64 {
			break
		}
	}
	return false
}

// again answers a request that was served before, and reports whether it was this very one.
func (d *desk) again(r *request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.seen[asked{r.From, r.ID}]
	switch {
	case s == nil || s.hash != r.Hash:
		return false
	case !s.done:
		if len(s.waiting) < deskAgain {
			s.waiting = append(s.waiting, r.message)
		}
	case s.answer != nil:
		go d.send(r.bus, r.message, s.answer)
	default:
		go d.refuse(r, types.Refuse(types.AskedBefore, "its answer is not remembered"))
	}
	return true
}

// check refuses what comes at the wrong time, or for what is not served here.
func (d *desk) check(r *request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(r.came)
	switch {
	case r.Time <= d.floor || !bus.Timely(r.Time, r.came):
		return types.Refuse(types.StaleRequest, "its time is %d, here it is %v", r.Time, r.came)
	}
	for _, run := range d.node.providers {
		if run.provider.Category == r.Category {
			if h, ok := run.requests[r.Kind]; ok {
				r.runner, r.handler = run, h
				return nil
			}
		}
	}
	return types.Refuse(types.UnknownRequest, "kind %s of %s", r.Kind, r.Category)
}

// sweep forgets requests that are too old to be served again, however late they come. mu is held.
func (d *desk) sweep(now time.Time) {
	for len(d.order) > 0 && d.order[0].until.Before(now) && d.order[0].done {
		s := d.order[0]
		d.order[0] = nil
		d.order = d.order[1:]
		d.kept -= len(s.answer)
		d.floor = max(d.floor, s.time) // this machine's clock may have been set back
		delete(d.seen, s.name)
		if by := d.senders[s.by]; by != nil {
			by.seen--
		}
	}
}

// admit reports whether it is known that the asker is one of those whom the handler serves, or refuses it.
func (d *desk) admit(r *request) (known bool, err error) {
	from := r.handler.From
	if from&role.Verifiers != 0 && d.node.agent.Pin().Set.Power(r.From) > 0 {
		r.verifier = true
		return true, nil
	}
	if from&role.Anybody != 0 && r.From == r.by {
		return true, nil
	}
	if from&role.Payers == 0 {
		return true, types.Refuse(types.NotPermitted, "requests of kind %s are not for %v", r.Kind, r.From)
	}
	p, known, err := d.node.payers.peek(r.From)
	switch {
	case !known || err != nil:
		return known, err
	case p.Expiry < d.node.epoch():
		return true, types.Refuse(types.KeyExpired, "payer %v", r.From)
	case p.Limit <= p.Spent:
		return true, types.Refuse(types.OverLimit, "payer %v", r.From)
	case p.Balance <= p.Promised:
		return true, types.Refuse(types.OverBudget, "payer %v", r.From)
	}
	return true, nil
}

// lookUp takes a place for asking about a payer.
func (d *desk) lookUp(by types.Key) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.senders[by]
	if s == nil || d.lookups >= deskLookups || s.lookups >= 2 || s.strangers >= deskStrangers && d.now().Sub(s.since) < time.Minute {
		return false
	}
	d.lookups++
	s.lookups++
	return true
}

// lookedUp gives the place back, and counts whom nobody granted.
func (d *desk) lookedUp(by types.Key, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.senders[by] // it is there: it has a lookup
	d.lookups--
	s.lookups--
	if !errors.Is(err, types.UnknownKey) {
		return
	}
	if now := d.now(); now.Sub(s.since) >= time.Minute {
		s.since, s.strangers = now, 0
	}
	s.strangers++
}

// begin serves a request if there is room for it.
func (d *desk) begin(ctx context.Context, r *request) {
	if !d.time().Before(r.until()) {
		return // nobody waits any more: it took too long to ask who the payer is
	}
	if err := d.enter(r); err != nil {
		d.refuse(r, err)
		return
	}
	run, running := r.runner.running()
	if !running {
		d.leave(r, d.seal(r, 0, true, nil, types.DeviceBusy))
		return
	}
	go func() {
		until := r.until()
		run, cancel := context.WithDeadline(run, until)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		var parts uint32
		var mu sync.Mutex
		ended := false
		q := &role.Request{From: r.From, Kind: r.Kind, ID: r.ID, Hash: r.Hash, Body: r.Body, Until: until, Send: func(part []byte) error {
			if len(part) > bus.MaxAsked {
				return types.Refuse(types.Oversize, "node: a part of %d bytes, at most %d are taken", len(part), bus.MaxAsked)
			}
			mu.Lock()
			defer mu.Unlock()
			if err := run.Err(); err != nil || ended {
				return fmt.Errorf("node: who asked waits no more: %w", context.Canceled)
			}
			parts++
			return r.bus.Respond(run, r.message, d.seal(r, parts-1, false, part, ""))
		}}
		body, why := d.serve(run, r, q)
		mu.Lock()
		ended = true
		mu.Unlock()
		d.leave(r, d.seal(r, parts, true, body, why))
	}()
}

// serve calls the handler.
func (d *desk) serve(ctx context.Context, r *request, q *role.Request) (body []byte, why types.Reason) {
	defer func() {
		if p := recover(); p != nil {
			r.runner.log.Error("a request made the provider panic", "kind", r.Kind, "panic", p, "stack", string(debug.Stack()))
			body, why = nil, types.DeviceFailed
		}
	}()
	body, err := r.handler.Serve(ctx, r.runner, q)
	switch {
	case err != nil:
		if why = types.ReasonOf(err); why == "" {
			r.runner.log.Warn("a request could not be served", "kind", r.Kind, "from", r.From, "error", err)
			why = types.DeviceFailed
		}
		return nil, why
	case len(body) > bus.MaxAsked:
		r.runner.log.Error("an answer is too long", "kind", r.Kind, "bytes", len(body), "most", bus.MaxAsked)
		return nil, types.Oversize
	}
	return body, ""
}

// enter remembers a request and takes a place for it, after its time has been written down.
func (d *desk) enter(r *request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.senders[r.by]
	name := asked{r.From, r.ID}
	switch {
	case s == nil:
		return types.Refuse(types.DeviceBusy, "too many ask") // not reached: it is not forgotten so soon
	case d.seen[name] != nil: // another one has its id, or it came twice while its payer was looked up
		return types.Refuse(types.AskedBefore, "it was served, or is")
	case len(d.seen) >= deskSeen || s.seen >= (deskSeen-len(d.seen))/4:
		return types.Refuse(types.DeviceBusy, "too many requests are remembered")
	case r.Time <= d.floor:
		return types.Refuse(types.StaleRequest, "it waited too long")
	}
	pool := &d.others
	switch {
	case r.Kind == bus.KindBlob:
		pool = &d.pieces
	case r.verifier:
		pool = &d.verifiers
	}
	if free := pool.most - pool.taken; free <= 0 || s.serving > 0 && s.serving >= (free+s.serving)/2 {
		return types.Refuse(types.DeviceBusy, "all places are taken")
	}
	if r.Time > d.mark {
		mark := r.Time + uint64(deskStep.Milliseconds())
		if err := d.node.outbox.Put(deskWord, binary.BigEndian.AppendUint64(nil, mark)); err != nil {
			return err
		}
		d.mark = mark
	}
	pool.taken++
	r.pool = pool
	s.serving++
	s.seen++
	r.served = &served{name: name, by: r.by, hash: r.Hash, time: r.Time, until: r.came.Add(bus.MaxBehind + bus.MaxAhead)}
	d.seen[name] = r.served
	d.order = append(d.order, r.served)
	return nil
}

// leave gives the place back, remembers the answer if it is short, and sends it to all copies of the request.
func (d *desk) leave(r *request, answer []byte) {
	d.mu.Lock()
	r.pool.taken--
	d.senders[r.by].serving--
	r.served.done = true
	if len(answer) <= deskAnswer && d.kept+len(answer) <= deskAnswers {
		r.served.answer = answer
		d.kept += len(answer)
	}
	all := r.served.waiting
	if d.now().Before(r.until()) { // else nobody waits for it; a copy that comes later is answered with it
		all = append(all, r.message)
	}
	r.served.waiting = nil
	d.mu.Unlock()
	for _, m := range all {
		d.send(r.bus, m, answer)
	}
}

// refuse answers that a request is not served. Nothing is remembered of it.
func (d *desk) refuse(r *request, err error) {
	why := types.ReasonOf(err)
	if why == "" {
		d.node.log.Error("a request cannot be taken", "error", err)
		why = types.DeviceFailed
	}
	d.send(r.bus, r.message, d.seal(r, 0, true, nil, why))
}

func (d *desk) seal(r *request, part uint32, last bool, body []byte, why types.Reason) []byte {
	return bus.Seal(d.node.key, &bus.Answer{Chain: d.node.agent.Chain(), Request: r.Hash, Part: part, Last: last, Reason: why, Body: body})
}

func (d *desk) send(b bus.Bus, m bus.Message, answer []byte) {
	if err := b.Respond(d.node.life, m, answer); err != nil {
		d.node.log.Debug("an answer is lost", "error", err) // who asked asks again
	}
}

// running returns the context of the provider's present run, if it runs.
func (r *runner) running() (context.Context, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx, r.state == agent.Running && r.ctx.Err() == nil
}

// Fetch implements role.WitnessHost.
func (r *runner) Fetch(ctx context.Context, f role.Fetch) (int64, error) {
	return r.node.agent.Fetch(ctx, r.node.key, r.provider.Category, f)
}

// Ask implements role.WitnessHost.
func (r *runner) Ask(ctx context.Context, q role.Question) ([]byte, error) {
	return r.node.agent.Ask(ctx, r.node.key, r.provider.Category, q)
}
