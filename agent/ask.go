package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

const (
	askWait = 3 * time.Second // for the answer, of whoever asks without a deadline
	maxSaid = 64 << 20        // bytes of one answer in all its parts
)

// Ask asks one device for something of a category, signed by key, and returns the answer that the device signed
// for this request.
func (a *Agent) Ask(ctx context.Context, key types.PrivateKey, c types.Category, q role.Question) ([]byte, error) {
	body, err := a.ask(ctx, key, c, q)
	if err != nil {
		return nil, fmt.Errorf("agent: ask %v for %s of %s: %w", q.Device, q.Kind, c, err)
	}
	return body, nil
}

func (a *Agent) ask(ctx context.Context, key types.PrivateKey, c types.Category, q role.Question) ([]byte, error) {
	b := a.Bus()
	if b == nil {
		return nil, types.Refuse(types.BusUnavailable, "there is no connection to the bus")
	}
	now := time.Now()
	until, ok := ctx.Deadline()
	if !ok {
		until = now.Add(askWait)
	}
	until = now.Add(min(until.Sub(now), bus.MaxWait*time.Millisecond))
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	r := &bus.Request{Chain: a.Chain(), Device: q.Device, Category: c, Kind: q.Kind, Time: uint64(now.UnixMilli()),
		Wait: uint32(max(until.Sub(now).Milliseconds(), 1)), Body: q.Body}
	rand.Read(r.ID[:])
	if err := r.Check(); err != nil {
		return nil, err
	}
	raw := bus.Seal(key, r)
	var (
		hash = types.Sum(raw)
		next uint32 // the least number that the next part may have
		last *bus.Answer
		bad  error
		said int
	)
	err := b.Gather(ctx, bus.RequestSubject(b.Key(), q.Device), raw, func(data []byte) bool {
		at := time.Now()
		if said += len(data); said > maxSaid {
			bad = fmt.Errorf("it is longer than %d bytes", maxSaid)
			return false
		}
		part, by, err := bus.Open[bus.Answer](data, a.Chain())
		switch {
		case err != nil:
			bad = err
		case by != q.Device || part.Request != hash:
			bad = fmt.Errorf("%v answers another request, or in another's place", by)
		case part.Part < next: // again
		case part.Last:
			last = part
			return false
		default:
			next = part.Part + 1
			if q.Each != nil {
				q.Each(role.Part{Number: part.Part, At: at, Body: part.Body})
			}
		}
		return true
	})
	switch {
	case last != nil && last.Reason != "":
		return nil, types.Refuse(last.Reason, "the device refuses")
	case last != nil:
		return last.Body, nil
	case bad != nil:
		return nil, types.Refuse(types.BadAnswer, "%v", bad)
	case errors.Is(err, bus.ErrNobody):
		return nil, types.Refuse(types.DeviceAway, "nobody listens")
	case errors.Is(err, context.DeadlineExceeded):
		return nil, types.Refuse(types.DeviceLate, "no answer within %v", until.Sub(now).Round(time.Millisecond))
	}
	return nil, err
}

// What a role may say is what a message takes.
var _ = [1]struct{}{}[bus.MaxAsked-role.MaxAsked]
