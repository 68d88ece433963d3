package customer

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/openai"
)

// How long a device may be silent about a request. Its own bounds are shorter (provider), so it says itself
// what is wrong.
const (
	firstEvent  = 150 * time.Second
	wholeTime   = 11 * time.Minute
	nextEvent   = 90 * time.Second
	stopTime    = 5 * time.Second // from Stop to the end of the answer
	unpaidTime  = 10 * time.Second
	mostProblem = 64 << 10
	// mostQueued bounds what waits for customers to take it, in bytes of all answers: beyond it, whoever is
	// slow is let go.
	mostQueued = 512 << 20
)

// talk is the requests of one job of class model: one after the other, on the stream of its device.
type talk struct {
	c      *Customer
	j      *job
	weight compute.Profile
	device types.Key
	price  uint64 // as devices are compared
	began  time.Time

	mu     sync.Mutex
	stream *link.Stream
	ready  chan struct{} // closed when the device is there
	gone   chan struct{} // closed when it is over
	why    error         // why it is over
	number uint64
	now    *reply // until its answer is over
	exact  uint64 // units that the answers that are over may cost
	idle   *time.Timer
}

// reply is a request's answer, as it comes.
type reply struct {
	talk    *talk
	number  uint64
	request *openai.Request
	begun   time.Time
	first   time.Duration // until its first part

	// Guarded by talk.mu.
	answer  *openai.Answer // nil before its head; the customer pays nothing for what has none
	status  int
	kind    string
	events  [][]byte // that the customer has not taken
	queued  int      // their bytes
	raw     []byte   // where status is no 200
	stopped bool     // nobody waits for it any more
	stalled bool     // since the customer did not take it
	done    bool
	why     error // why it is done before its end
	more    chan struct{}
}

func (c *Customer) newTalk(j *job) *talk {
	return &talk{c: c, j: j, began: time.Now(), ready: make(chan struct{}), gone: make(chan struct{})}
}

// paused reports whether the device waits to be paid.
func (t *talk) paused() bool {
	t.j.mu.Lock()
	defer t.j.mu.Unlock()
	return t.j.rec.State == Paused
}

// attach is told the stream on which the device is.
func (t *talk) attach(s *link.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream == nil {
		t.stream = s
		close(t.ready)
	}
}

// lose ends it.
func (t *talk) lose(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.gone:
		return
	default:
	}
	t.why = why
	close(t.gone)
	if x := t.now; x != nil && !x.done {
		x.done, x.why = true, why
		x.wake()
	}
}

func (t *talk) over() bool {
	select {
	case <-t.gone:
		return true
	default:
		return false
	}
}

// payable is how many units may be paid for so far.
func (t *talk) payable() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.exact
	if t.now != nil {
		n += t.now.units()
	}
	return n
}

// units is what an answer may cost so far. talk.mu is held.
func (x *reply) units() uint64 {
	if x.answer == nil {
		return 0
	}
	b := x.answer.Bound()
	return uint64(x.talk.weight.Prompt)*b.Prompt + uint64(x.talk.weight.Completion)*b.Completion
}

func (x *reply) wake() {
	select {
	case x.more <- struct{}{}:
	default:
	}
}

// ask sends a request to the device, once that is there.
func (t *talk) ask(ctx context.Context, r *openai.Request, body []byte) (*reply, error) {
	select {
	case <-t.ready:
	case <-t.gone:
		return nil, t.why
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t.mu.Lock()
	select {
	case <-t.gone:
		t.mu.Unlock()
		return nil, t.why
	default:
	}
	t.number++
	x := &reply{talk: t, number: t.number, request: r, begun: time.Now(), more: make(chan struct{}, 1)}
	t.now = x
	t.mu.Unlock()
	p := append([]byte(r.Path+"\n"), body...)
	for len(p) > 0 {
		n, what := min(len(p), link.MaxData), link.Part
		if n == len(p) {
			what = link.Whole
		}
		if err := t.stream.Write(link.Frame{Kind: link.Request, Stream: what, Offset: x.number, Data: p[:n]}); err != nil {
			return nil, types.Refuse(compute.DeviceLost, "compute: device %v: %v", t.device, err)
		}
		p = p[n:]
	}
	return x, nil
}

// take takes in a part of an answer.
func (t *talk) take(f link.Frame) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.now
	if x == nil || f.Offset != x.number {
		return types.Refuse(types.BadEncoding, "compute: a part of answer %d, of %d requests", f.Offset, t.number)
	}
	switch f.Stream {
	case link.Head:
		if x.status != 0 || len(f.Data) < 2 {
			return types.Refuse(types.BadEncoding, "compute: an answer with a second head, or a head of %d bytes", len(f.Data))
		}
		x.status, x.kind = int(binary.BigEndian.Uint16(f.Data)), string(f.Data[2:])
		x.first = time.Since(x.begun)
		if x.status == 200 {
			x.answer = openai.NewAnswer(x.request, x.request.Stream)
		} else if x.status < 400 || x.status > 499 {
			return types.Refuse(types.BadEncoding, "compute: an answer of status %d", x.status)
		}
		x.wake()
	case link.Body:
		return x.body(f.Data)
	case link.Done:
		if len(f.Data) > 0 {
			reason, text, _ := strings.Cut(string(f.Data), "\n")
			x.why = types.Refuse(known(types.Reason(reason)), "compute: device %v: %.512s", t.device, text)
		} else if x.answer == nil && x.status == 0 {
			return types.Refuse(types.BadEncoding, "compute: an answer without a head")
		}
		if x.answer != nil && x.status == 200 && !x.request.Stream && x.why == nil {
			if _, err := x.answer.Whole(); err != nil { // it counts the text, too
				x.why = types.Refuse(compute.ModelFailed, "compute: device %v: %v", t.device, err)
			}
		}
		t.exact += x.units()
		t.now, x.done = nil, true
		x.wake()
	default:
		return types.Refuse(types.BadEncoding, "compute: a part of kind %d of an answer", f.Stream)
	}
	return nil
}

// known passes on a reason that a device may give, and calls all others a failure.
func known(r types.Reason) types.Reason {
	switch r {
	case compute.Busy, compute.ModelDown, compute.Policy, compute.Unpaid, compute.TrapCut:
		return r
	}
	return compute.ModelFailed
}

// body takes in bytes of an answer. talk.mu is held.
func (x *reply) body(p []byte) error {
	switch {
	case x.status == 0:
		return types.Refuse(types.BadEncoding, "compute: an answer without a head")
	case x.answer == nil || x.status != 200:
		if len(x.raw)+len(p) > mostProblem {
			return types.Refuse(types.Oversize, "compute: a refusal of more than %d bytes", mostProblem)
		}
		x.raw = append(x.raw, p...)
		return nil
	}
	if !x.request.Stream && !x.stopped {
		x.queued += len(p)
		x.talk.c.queued.Add(int64(len(p)))
	}
	events, err := x.answer.Write(p)
	for _, e := range events {
		if e.Last || e.Usage && !x.request.Usage || x.stopped {
			continue
		}
		x.events = append(x.events, e.Data)
		x.queued += len(e.Data)
		x.talk.c.queued.Add(int64(len(e.Data)))
	}
	if !x.stopped && (x.queued > openai.MaxAnswer || x.queued > 0 && x.talk.c.queued.Load() > mostQueued) {
		x.stalled, x.stopped = true, true
		x.drop()
		stop := link.Frame{Kind: link.Stop, Offset: x.number}
		x.talk.c.background.Go(func() { _ = x.talk.stream.Write(stop) }) // a stream that is broken is seen by who reads
	}
	if len(events) > 0 {
		x.wake()
	}
	return err
}

// stop says that nobody waits for the answer any more, and what has come is let go of. It reports whether the
// job can go on.
func (x *reply) stop() bool {
	t := x.talk
	t.mu.Lock()
	stopped := x.stopped
	x.stopped = true
	x.drop()
	if x.answer == nil && x.status == 0 {
		x.answer = openai.NewAnswer(x.request, x.request.Stream) // the device may have read the prompt already
	}
	over := x.done
	t.mu.Unlock()
	if over {
		return !t.over()
	}
	if !stopped && t.stream.Write(link.Frame{Kind: link.Stop, Offset: x.number}) != nil {
		return false
	}
	late := time.NewTimer(stopTime)
	defer late.Stop()
	for {
		t.mu.Lock()
		over = x.done
		t.mu.Unlock()
		if over {
			return !t.over()
		}
		select {
		case <-x.more:
		case <-t.gone:
			return false
		case <-late.C:
			return false
		}
	}
}

// drop lets go of what waits. talk.mu is held.
func (x *reply) drop() {
	x.talk.c.queued.Add(-int64(x.queued))
	x.events, x.queued = nil, 0
}

// next returns what came, and whether that was all; it waits for something.
func (x *reply) next(ctx context.Context, wait time.Duration, is func() bool) error {
	late := time.NewTimer(wait)
	defer late.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	var unpaid time.Time
	for {
		x.talk.mu.Lock()
		ok := x.done || x.stalled || is()
		x.talk.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-x.more:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return types.Refuse(compute.DeviceLost, "compute: device %v has not answered for %v", x.talk.device, wait)
		case <-look.C:
			switch {
			case !x.talk.paused():
				unpaid = time.Time{}
			case unpaid.IsZero():
				unpaid = time.Now()
			case time.Since(unpaid) > unpaidTime:
				return types.Refuse(compute.Unpaid, "compute: device %v waits to be paid: the account or its key has too few credits", x.talk.device)
			}
		}
	}
}

// take returns the events that wait.
func (x *reply) take() (events [][]byte, done bool, why error) {
	x.talk.mu.Lock()
	defer x.talk.mu.Unlock()
	events = x.events
	x.drop()
	if x.stalled {
		return nil, true, types.Refuse(compute.Stalled, "compute: %d bytes of the answer waited to be taken", openai.MaxAnswer)
	}
	return events, x.done, x.why
}
