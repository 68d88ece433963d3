package provider

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// requests are what others may ask of the device.
func (p *Provider) requests() map[string]role.RequestHandler {
	serve := func(f func(d *device, ctx context.Context, r *role.Request) ([]byte, error)) func(context.Context, role.Host, *role.Request) ([]byte, error) {
		return func(ctx context.Context, _ role.Host, r *role.Request) ([]byte, error) {
			d := p.device.Load()
			if d == nil || !d.begin() {
				return nil, types.Refuse(compute.Draining, "compute: the device does not run")
			}
			defer d.work.Done()
			return f(d, ctx, r)
		}
	}
	return map[string]role.RequestHandler{
		compute.KindOrder:  {From: role.Payers, Serve: serve((*device).order)},
		compute.KindCancel: {From: role.Payers, Serve: serve((*device).cancel)},
		compute.KindShow:   {From: role.Verifiers, Serve: serve((*device).show)},
		compute.KindLive:   {From: role.Verifiers, Serve: serve((*device).liveCheck)},
		compute.KindRows:   {From: role.Verifiers, Serve: serve((*device).showRows)},
	}
}

// begin counts a request as work, unless the device stops.
func (d *device) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopping {
		d.work.Add(1)
	}
	return !d.stopping
}

// order answers an order.
func (d *device) order(ctx context.Context, r *role.Request) ([]byte, error) {
	call, err := compute.DecodeCall(r.Body)
	if err != nil {
		return nil, err
	}
	o := &call.Order.Order
	switch {
	case o.Payer != r.From || o.Device != d.key:
		return nil, types.Refuse(types.NotPermitted, "compute: %v brings an order by %v to %v", r.From, o.Payer, o.Device)
	case !call.Order.Verify(d.chain):
		return nil, types.Refuse(types.BadSignature, "compute: an order that %v did not sign", o.Payer)
	}
	answer := &compute.Answer{Order: o.Hash(), Ask: []byte{}}
	if answer.Ask, err = d.accept(ctx, call, answer.Order); err != nil {
		if answer.Reason = types.ReasonOf(err); answer.Reason == "" {
			return nil, err
		}
		answer.Ask = []byte{}
		d.provider.count(&d.provider.refused, string(answer.Reason), 1)
		d.log.Debug("compute: an order is refused", "order", answer.Order, "err", err)
	}
	return answer.Encode(), nil
}

// accept takes an order on, or refuses it with a reason. It returns the session's ask.
func (d *device) accept(ctx context.Context, call *compute.Call, hash types.Hash) ([]byte, error) {
	o := &call.Order.Order
	if ask, known := d.again(ctx, hash); known {
		return ask, nil
	}
	if err := d.suits(call); err != nil {
		return nil, err
	}
	payer, err := d.host.Payer(ctx, o.Payer)
	if types.ReasonOf(err) == types.UnknownKey {
		return nil, types.Refuse(compute.Unpaid, "compute: %v", err)
	} else if err != nil {
		return nil, types.Refuse(compute.Busy, "compute: %v", err)
	}
	d.mu.Lock()
	changed := d.changed
	d.mu.Unlock()
	j, err := d.reserve(ctx, call, hash, &payer)
	for late := time.After(follows); types.ReasonOf(err) == compute.Unpaid; { // a receipt may be on its way
		select {
		case <-changed:
		case <-late:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
		d.mu.Lock()
		changed = d.changed
		d.mu.Unlock()
		j, err = d.reserve(ctx, call, hash, &payer)
	}
	if err != nil {
		return nil, err
	}
	s := j.session
	if err := d.enter(j); err != nil {
		d.release(j)
		close(j.accepted)
		return nil, types.Refuse(compute.NoSpace, "%v", err)
	}
	d.cfg.at("accepted")
	close(j.accepted)
	d.start(j)
	return s.ask.Encode(), nil
}

// again returns the answer to an order that was accepted before.
func (d *device) again(ctx context.Context, hash types.Hash) ([]byte, bool) {
	d.mu.Lock()
	j := d.jobs[hash]
	d.mu.Unlock()
	if j == nil {
		return nil, false
	}
	select {
	case <-j.accepted:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return j.session.ask.Encode(), d.jobs[hash] == j
}

// suits checks what an order says against what the device offers. It needs nothing but the order.
func (d *device) suits(call *compute.Call) error {
	o, now := &call.Order.Order, uint64(time.Now().UnixMilli())
	e := d.executors[o.Class]
	epoch := d.now()
	switch {
	case d.provider.draining.Load():
		return types.Refuse(compute.Draining, "compute: no new jobs are taken")
	case epoch == 0:
		return types.Refuse(compute.Busy, "compute: the epoch is not known yet")
	case now > o.Deadline || o.Deadline > now+uint64(deadline.Milliseconds()):
		return types.Refuse(types.StatementExpired, "compute: an order until %d, it is %d", o.Deadline, now)
	case o.Class == compute.Model && d.models != nil && d.models.away(call.Job.Profile):
		return types.Refuse(compute.ModelDown, "compute: %v", d.models.missing())
	case e == nil || !d.runs(o.Class, call.Job.Profile):
		return types.Refuse(compute.Policy, "compute: profile %.50q is not offered", call.Job.Profile)
	case o.Price < d.cfg.Prices[o.Class]:
		return types.Refuse(compute.PriceBelowAsk, "compute: a price of %d, asked are %d", o.Price, d.cfg.Prices[o.Class])
	case o.Price > maxPrice || o.Ceiling > 4*maxPrice:
		return types.Refuse(compute.Policy, "compute: a price of %d, at most %d", o.Price, o.Ceiling)
	case o.Slots > d.cfg.Slots || o.Class != compute.OCI && o.Slots != 1:
		return types.Refuse(compute.Policy, "compute: %d slots for a job", o.Slots)
	case o.Class == compute.OCI && memory(&call.Job) > uint64(o.Slots)*SlotMemory:
		return types.Refuse(compute.Policy, "compute: %d bytes of memory for a job of %d slots", memory(&call.Job), o.Slots)
	case memory(&call.Job) > d.cfg.Memory:
		return types.Refuse(compute.Policy, "compute: %d bytes of memory for a job, all have %d", memory(&call.Job), d.cfg.Memory)
	case o.Session.Expiry() <= epoch:
		return types.Refuse(types.SessionExpired, "compute: session %s ends with epoch %d", o.Session, o.Session.Expiry())
	case o.Session.Expiry() > epoch+maxExpiry: // what was dropped is remembered until then
		return types.Refuse(types.WrongEpoch, "compute: session %s goes on until epoch %d", o.Session, o.Session.Expiry())
	}
	if err := d.host.Room(); err != nil {
		return types.Refuse(compute.NoSpace, "compute: %v", err)
	}
	return nil
}

// memory is what a job is counted as.
func memory(j *compute.Job) uint64 { return max(uint64(j.Pages)<<16, 1<<20) }

func (d *device) runs(class types.Class, profile string) bool {
	for _, p := range d.executors[class].Profiles() {
		if p.Name == profile {
			return true
		}
	}
	return false
}

// reserve takes a place for an order in memory: slots, room, and its number in the session.
func (d *device) reserve(ctx context.Context, call *compute.Call, hash types.Hash, payer *role.Payer) (*job, error) {
	o := &call.Order.Order
	key := sessionKey{o.Payer, o.Session}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Orders of a session may overtake each other on the way, and the one before may be about to end.
	for wait := time.After(follows); ; {
		s := d.sessions[key]
		if s == nil && o.Index == 0 || s != nil && (o.Index < s.Next || o.Index == s.Next && s.live == nil) {
			break
		}
		changed := d.changed
		d.mu.Unlock()
		over := false
		select {
		case <-changed:
		case <-wait:
			over = true
		case <-ctx.Done():
			over = true
		}
		d.mu.Lock()
		if over && s == nil {
			break
		}
		if over {
			return nil, types.Refuse(compute.Busy, "compute: order %d of session %s, before the one before it has ended", o.Index, o.Session)
		}
	}
	if other := d.jobs[hash]; other != nil { // the same one, a moment ago
		return nil, types.Refuse(compute.Busy, "compute: order %v is being answered", hash)
	}
	s := d.sessions[key]
	a := d.accounts[payer.Account]
	fresh := s == nil
	if fresh {
		if d.ids[o.Session] != (types.Key{}) { // results name a session by its id alone
			return nil, types.Refuse(types.SessionMismatch, "compute: session %s is of another payer", o.Session)
		}
		if d.gone[o.Session] { // a leaf of it was signed, and a second one of its place would be a fault
			return nil, types.Refuse(types.SessionMismatch, "compute: session %s was dropped", o.Session)
		}
		if o.Index != 0 {
			return nil, types.Refuse(types.SessionMismatch, "compute: session %s begins with order %d", o.Session, o.Index)
		}
		if a == nil {
			a = &account{id: payer.Account, sessions: map[*session]bool{}, trust: trust{Window: firstTrust}}
		}
		if len(d.sessions) >= d.cfg.sessions || len(a.sessions) >= maxSessionsAccount {
			d.makeRoom(false)
			return nil, types.Refuse(compute.Busy, "compute: as many sessions as may be, %d of this account", len(a.sessions))
		}
		ask := d.askOf(o)
		s = &session{key: key, account: a, ask: ask, class: o.Class, tab: tab{Account: payer.Account, Class: o.Class, Ask: ask.Encode(), Handed: []handed{}}}
		s.Receipt, s.Whole = []byte{}, []byte{}
	}
	switch price := s.ask.Ask.Price; {
	case s.account.id != payer.Account || s.class != o.Class || price < o.Price || price > o.Ceiling:
		return nil, types.Refuse(types.SessionMismatch, "compute: session %s is of class %d at %d at most, the order of %d, %d to %d", o.Session, s.class, price,
			o.Class, o.Price, o.Ceiling)
	case o.Index != s.Next:
		return nil, types.Refuse(types.StaleSeq, "compute: order %d of session %s, the next one is %d", o.Index, o.Session, s.Next)
	}
	if d.open >= d.cfg.open {
		d.makeRoom(false)
	}
	if err := d.affords(s, o, payer); err != nil {
		return nil, err
	}
	j := d.newJob(call, hash, s)
	// A job that comes to the same each time may as well have run: that saves a write to the disk before it does.
	j.record = record{Account: payer.Account, Ended: []byte{}, Started: o.Class == compute.Wasm}
	if err := d.take(j); err != nil {
		if types.ReasonOf(err) == compute.NoSpace {
			d.makeRoom(true)
		}
		return nil, err
	}
	if fresh {
		d.sessions[key] = s
		d.ids[o.Session] = o.Payer
		a.sessions[s] = true
		d.accounts[a.id] = a
	}
	a = s.account
	a.jobs++
	s.jobs++
	a.trust.Seen = d.now()
	s.last = time.Now()
	d.jobs[hash] = j
	d.enlist(j)
	d.refer(j)
	s.live = j
	return j, nil
}

// makeRoom lets go of something where many keep the device's places: of the account that has most sessions
// below the least opening, the one that is worth least; of the account that has most ends waiting for their
// gateway, the oldest whose gateway is away. So nobody keeps others out by being first. The order that finds no
// room is refused as busy; the next one finds some. disk says that disk is short: what a session below the
// least opening has read is kept for as long as that, and what jobs wrote until gateways have taken it.
// d.mu is held.
func (d *device) makeRoom(disk bool) {
	idle := map[*account]int{}
	drops := func(s *session) bool {
		return s.live == nil && s.written && time.Since(s.last) > d.cfg.quiet && !s.opened(d.least())
	}
	for _, s := range d.sessions {
		if drops(s) {
			idle[s.account]++
		}
	}
	var least *session
	for _, s := range d.sessions {
		if !drops(s) {
			continue
		}
		if n := idle[s.account]; least == nil || n > idle[least.account] || n == idle[least.account] && s.worth() < least.worth() {
			least = s
		}
	}
	var ends *account
	for _, a := range d.accounts {
		if ends == nil || a.open > ends.open {
			ends = a
		}
	}
	if least != nil && (disk || len(d.sessions) >= d.cfg.sessions) {
		var jobs []*job
		for _, j := range d.jobs {
			if j.session == least {
				jobs = append(jobs, j)
			}
		}
		d.work.Go(func() {
			var errs []error
			for _, j := range jobs { // none of their leaves was committed to, so nobody audits them
				errs = append(errs, d.forget(j))
			}
			if err := errors.Join(append(errs, d.prune(least, true))...); err != nil {
				d.log.Warn("compute: drop a session", "session", least.key.id, "err", err)
			}
		})
	}
	var oldest *job
	for _, j := range d.jobs {
		if j.open && j.over() && j.session.account == ends && j.silent.Load() != 0 && (oldest == nil || j.began.Before(oldest.began)) {
			oldest = j
		}
	}
	if oldest != nil && d.open >= d.cfg.open {
		d.work.Go(func() { d.keep(oldest) })
	}
	if disk {
		d.shed()
	}
}

// affords checks that an account can pay for what may run before its next receipt, and has paid for what ran.
// d.mu is held.
func (d *device) affords(s *session, o *compute.Order, payer *role.Payer) error {
	a, least := s.account, max(d.least(), 1)
	owes := uint64(0)
	if d.accounts[a.id] == a {
		owes = a.owes()
	}
	room := min(payer.Limit-min(payer.Limit, payer.Spent), payer.Balance)
	pending := types.Credit(0)
	for other := range a.sessions {
		pending += other.amount() - min(other.amount(), d.counted(other))
	}
	room -= min(room, max(payer.Promised, pending))
	need := cost(types.U128{}, inUnits(a.trust.Window, o.Class), o.Price, o.Class) + 1
	if !s.opened(least) { // less than this could never be handed in
		need = max(need, least-s.amount())
	}
	switch {
	case payer.Expiry < d.now():
		return types.Refuse(compute.Unpaid, "compute: the key %v has expired", o.Payer)
	case owes >= a.trust.Window:
		return types.Refuse(compute.Unpaid, "compute: account %v has not paid for %v", a.id, time.Duration(owes))
	case room < need:
		return types.Refuse(compute.Unpaid, "compute: account %v has %d for this device, a job needs %d", a.id, room, need)
	case a.free > freeTime+a.paid:
		return types.Refuse(compute.Policy, "compute: account %v has had %v for nothing in this epoch", a.id, a.free)
	case a.open >= min(maxOpenAccount, d.cfg.open) || d.open >= d.cfg.open:
		return types.Refuse(compute.Busy, "compute: the ends of %d jobs wait for their gateways, %d of this account", d.open, a.open)
	case a.jobs >= maxJobsAccount || len(d.jobs) >= maxJobs:
		return types.Refuse(compute.NoSpace, "compute: %d jobs are kept, %d of this account", len(d.jobs), a.jobs)
	}
	if s.opened(least) {
		return nil
	}
	// What is below the least opening earns nothing: it is bounded for the device, and an account is to bring
	// one session there before it begins many.
	total, others, most := types.Credit(0), a.trust.Lost, types.Credit(0)
	for _, other := range d.sessions {
		if other.opened(least) || d.idle(other) {
			continue
		}
		w := other.worth()
		if total += w; other.account == a && other != s {
			others += w
			most = max(most, w)
		}
	}
	if total >= d.cfg.Unopened || others >= 2*least && most > s.worth() {
		return types.Refuse(compute.Busy, "compute: work for %d has been done below the least opening, for %d of it for account %v", total, others, a.id)
	}
	return nil
}

// take takes slots, memory and disk for a job: busy or no_space where there are none left. d.mu is held.
func (d *device) take(j *job) error {
	need := uint64(0)
	for _, in := range j.external {
		if d.pinned[in.Hash] == 0 {
			need += in.Size
		}
	}
	for d.slots+j.order.Slots > d.cfg.Slots && d.yield() {
	}
	switch {
	case d.slots+j.order.Slots > d.cfg.Slots:
		return types.Refuse(compute.Busy, "compute: %d of %d slots are taken", d.slots, d.cfg.Slots)
	case d.memory+j.memory > d.cfg.Memory:
		return types.Refuse(compute.Busy, "compute: %d of %d bytes of memory are taken", d.memory, d.cfg.Memory)
	case d.pinnedBytes+need > d.cfg.Disk/2 || d.outBytes+2*maxStream > d.cfg.Disk/2:
		return types.Refuse(compute.NoSpace, "compute: %d bytes of inputs and %d of outputs are kept, of %d each", d.pinnedBytes, d.outBytes, d.cfg.Disk/2)
	}
	d.hold(j)
	d.tell()
	return nil
}

// hold counts what a job takes while it runs. d.mu is held.
func (d *device) hold(j *job) {
	j.held = true
	d.slots += j.order.Slots
	d.memory += j.memory
	j.outBytes = 2 * maxStream
	d.outBytes += j.outBytes
}

// enlist counts a job whose end the gateway does not have, and delist does so no longer. d.mu is held.
func (d *device) enlist(j *job) {
	j.open = true
	d.open++
	j.session.account.open++
}

func (d *device) delist(j *job) {
	if j.open {
		j.open = false
		d.open--
		j.session.account.open--
	}
}

// refer counts the inputs that a job refers to. d.mu is held.
func (d *device) refer(j *job) {
	for _, in := range j.external {
		if d.pinned[in.Hash]++; d.pinned[in.Hash] == 1 {
			d.pinnedBytes += in.Size
		}
	}
}

// free gives back a job's slots and memory. d.mu is held.
func (d *device) free(j *job) {
	if j.held {
		if j.held = false; j.talk != nil && j.talk.rest != nil {
			j.talk.busy()
		}
		d.slots -= j.order.Slots
		d.memory -= j.memory
		d.tell()
	}
}

// release undoes reserve, for an order that could not be kept.
func (d *device) release(j *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free(j)
	d.drop(j)
	j.cancel(errStop)
	s := j.session
	s.live = nil
	if !s.written {
		delete(d.sessions, s.key)
		delete(d.ids, s.key.id)
		delete(s.account.sessions, s)
	}
	d.wake()
}

// drop takes a job out of memory. d.mu is held.
func (d *device) drop(j *job) {
	if d.jobs[j.hash] != j {
		return
	}
	delete(d.jobs, j.hash)
	d.delist(j)
	j.session.jobs--
	j.session.account.jobs--
	d.outBytes -= j.outBytes
	j.outBytes = 0
	for _, in := range j.external {
		if d.pinned[in.Hash]--; d.pinned[in.Hash] <= 0 {
			delete(d.pinned, in.Hash)
			d.pinnedBytes -= in.Size
		}
		if j.fetched[in.Hash] {
			d.inputs.Unpin(in.Hash)
		}
	}
}

// enter writes an order that was accepted into the journal.
func (d *device) enter(j *job) error {
	s := j.session
	s.io.Lock()
	defer s.io.Unlock()
	d.mu.Lock()
	next := s.tab
	next.Next++
	next.Seen = d.now()
	next.Price = j.order.Price
	line := s.account.trust
	d.mu.Unlock()
	call := j.call.Encode()
	err := d.books.write(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(callBucket).Put(j.hash[:], call); err != nil {
			return err
		}
		if err := put(tx, jobBucket, j.hash[:], &j.record); err != nil {
			return err
		}
		if err := put(tx, trustBucket, j.record.Account[:], &line); err != nil {
			return err
		}
		return put(tx, sessionBucket, s.key.bytes(), &next)
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.tab, s.written = next, true
	return nil
}

// askOf makes the ask of the session that an order begins.
func (d *device) askOf(o *compute.Order) *receipt.SignedAsk {
	terms := compute.Terms{Profiles: d.executors[o.Class].Profiles(), Session: o.Session}
	ask := receipt.Ask{
		Chain: d.chain, Device: d.key, Category: types.Compute, Class: o.Class, Price: o.Ceiling, Capacity: d.capacity(o.Class), Terms: terms.Encode(),
		Until: o.Session.Expiry(),
	}
	return &receipt.SignedAsk{Ask: ask, Signature: d.host.Sign("ask", types.Encode(&ask))}
}

// cancel ends the job of an order, for its payer, and returns when it has ended.
func (d *device) cancel(ctx context.Context, r *role.Request) ([]byte, error) {
	if len(r.Body) != len(types.Hash{}) {
		return nil, types.Refuse(types.BadEncoding, "compute: cancel: a hash of %d bytes", len(r.Body))
	}
	d.mu.Lock()
	j := d.jobs[types.Hash(r.Body)]
	d.mu.Unlock()
	if j == nil || j.order.Payer != r.From {
		return []byte{}, nil
	}
	select {
	case <-j.accepted:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	j.stop(errCancelled)
	select {
	case <-j.done:
		return []byte{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
