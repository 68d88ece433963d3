package provider

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/openai"
)

// restAfter is how long a job of class model that nobody asks anything keeps its slot: from then on whoever
// comes takes it.
const restAfter = time.Second

// talk is how a job of class model hears what it is asked and answers: one request after the other, on the
// stream that its gateway has. The job lives no longer than that stream. Its fields are guarded by device.mu.
type talk struct {
	d      *device
	j      *job
	stream *link.Stream // nil before the gateway was reached
	number uint64       // of the newest request
	part   []byte       // of one that is not whole
	asked  *exchange    // whole, and not taken up yet
	now    *exchange    // being answered
	closed bool         // no request follows
	wake   chan struct{}
	hurry  chan struct{} // holds one when the gateway is to hear at once what was used: nothing goes on before it pays
	rest   *time.Timer
	rests  bool // nobody has asked for restAfter
}

// exchange is one request, and what answers it.
type exchange struct {
	talk   *talk
	stream *link.Stream
	number uint64
	path   string
	body   []byte
	ctx    context.Context // ends when nobody waits for the answer any more
	cancel context.CancelFunc
}

func (d *device) newTalk(j *job) *talk {
	return &talk{d: d, j: j, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
}

// attach is told the stream on which the gateway is. It reports false for a second one.
func (t *talk) attach(s *link.Stream) bool {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if t.stream != nil {
		return false
	}
	t.stream = s
	t.idle()
	return true
}

// broken ends the job: its gateway is gone, or has gone on elsewhere.
func (t *talk) broken() {
	t.d.mu.Lock()
	now := t.now
	t.d.mu.Unlock()
	if now != nil {
		now.cancel()
	}
	t.j.stop(errAway)
}

// idle begins to wait for the next request. device.mu is held.
func (t *talk) idle() {
	if t.rest != nil {
		t.rest.Stop()
	}
	t.rest = time.AfterFunc(t.d.cfg.rest, func() {
		t.d.mu.Lock()
		defer t.d.mu.Unlock()
		if t.now == nil && t.asked == nil && !t.closed && !t.rests && t.j.held {
			t.rests = true
			t.d.resting++
			t.d.tell()
		}
	})
}

// busy ends a rest. device.mu is held.
func (t *talk) busy() {
	t.rest.Stop()
	if t.rests {
		t.rests = false
		t.d.resting--
		t.d.tell()
	}
}

// close has the job end once what it is asked now is answered. device.mu is held.
func (t *talk) close() {
	t.closed = true
	if t.rest != nil {
		t.busy()
	}
	t.poke()
}

func (t *talk) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// yield ends the job of class model that has rested longest, so that another one gets its slot. It reports
// false if none rests. d.mu is held.
func (d *device) yield() bool {
	var oldest *job
	for _, j := range d.jobs {
		if j.talk != nil && j.talk.rests && (oldest == nil || j.began.Before(oldest.began)) {
			oldest = j
		}
	}
	if oldest == nil {
		return false
	}
	oldest.talk.close()
	d.free(oldest)
	return true
}

// take takes in a frame of the gateway's.
func (t *talk) take(f link.Frame) error {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if f.Kind == link.Stop {
		switch {
		case f.Offset == 0:
			t.close()
		case t.now != nil && t.now.number == f.Offset:
			t.now.cancel()
		case t.asked != nil && t.asked.number == f.Offset:
			t.asked.cancel()
		}
		return nil
	}
	switch {
	case t.closed: // the gateway will see that the job has ended without an answer
		return nil
	case f.Offset != t.number+1 || t.now != nil || t.asked != nil || len(t.part)+len(f.Data) > openai.MaxRequest+openai.MaxModel:
		return types.Refuse(types.BadEncoding, "compute: request %d after %d, of %d bytes so far", f.Offset, t.number, len(t.part))
	}
	t.busy()
	t.part = append(t.part, f.Data...)
	if f.Stream != link.Whole {
		return nil
	}
	path, body, _ := bytes.Cut(t.part, []byte("\n"))
	t.number, t.part = f.Offset, nil
	x := &exchange{talk: t, stream: t.stream, number: f.Offset, path: string(path), body: body}
	x.ctx, x.cancel = context.WithCancel(t.j.ctx)
	t.asked = x
	t.poke()
	return nil
}

// Next implements Talk.
func (t *talk) Next(ctx context.Context) (*exchange, error) {
	for {
		t.d.mu.Lock()
		x, closed := t.asked, t.closed
		if x != nil {
			t.asked, t.now = nil, x
		}
		t.d.mu.Unlock()
		if x != nil || closed {
			return x, nil
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// head, data and done are the parts of an answer. Their errors say that the gateway is gone.
func (x *exchange) head(status int, kind string) error {
	return x.send(link.Head, append(binary.BigEndian.AppendUint16(nil, uint16(status)), kind...))
}

func (x *exchange) data(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), link.MaxData)
		if err := x.send(link.Body, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// done ends an answer; why is nil where all of it came. A server's words go no further than to the device's owner.
func (x *exchange) done(why error) error {
	x.cancel()
	x.talk.d.mu.Lock()
	if x.talk.now == x {
		x.talk.now = nil
		x.talk.idle()
	}
	x.talk.d.mu.Unlock()
	var text []byte
	if why != nil {
		reason := types.ReasonOf(why)
		if reason == "" {
			reason = compute.ModelFailed
		}
		text = []byte(string(reason) + "\n" + strings.ReplaceAll(message(why), "\n", " "))
	}
	return x.send(link.Done, text)
}

func (x *exchange) send(what uint8, p []byte) error {
	return x.stream.Write(link.Frame{Kind: link.Answer, Stream: what, Offset: x.number, Data: p})
}

var errNoTalk = errors.New("compute: a job of class model without a gateway to talk to")
