package customer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// maxTries is how many devices may accept a job before it fails.
	maxTries = 4
	// maxAsked is how many devices are asked for one placing.
	maxAsked = 8
	// answerTime is how long a device has to answer an order.
	answerTime = 300 * time.Millisecond
)

// deviceSaid begins the name under which an answer counts that was given by a device, and not found in its ask.
const deviceSaid = "device_"

// place has a device accept the job. What it returns carries no_match if none does; passed counts why.
func (c *Customer) place(ctx context.Context, j *job) error {
	class := compute.ClassOf(j.rec.Job.Profile)
	j.mu.Lock()
	need := match.Need{
		Job: j.rec.Job.Hash(), Account: j.rec.Account, Class: class, Slots: j.rec.Want.Slots, Price: types.Credit(j.rec.Want.Price),
		Quality: j.rec.Want.Quality, Near: j.rec.Want.Near, Epoch: c.market.Notice().Epoch,
		Reach: reaches(j.rec.Want.Egress),
	}
	for _, t := range j.rec.Tries {
		need.Exclude = append(need.Exclude, t.Device)
	}
	need.Exclude = append(need.Exclude, j.exclude...)
	profile := j.rec.Job.Profile
	said := map[string]int{}
	anew := map[types.Key]bool{}
	var unpaid error
	j.mu.Unlock()
	book := c.ranking(profile)
	for asked := 0; ; asked++ {
		need.Now = c.now()
		found, ok := book.Find(&need)
		passed := found.Passed.Map()
		for why, n := range said {
			passed[why] += n
		}
		if n := passed["excluded"] - asked; n <= 0 { // those counted by what they said
			delete(passed, "excluded")
		} else {
			passed["excluded"] = n
		}
		j.mu.Lock()
		j.rec.Passed = passed
		j.mu.Unlock()
		if !ok || asked >= maxAsked {
			total := 0
			for _, n := range passed {
				total += n
			}
			if unpaid != nil && said[deviceSaid+string(compute.Unpaid)] == total {
				return unpaid
			}
			return types.Refuse(compute.NoMatch, "compute: %d devices were passed over", total)
		}
		err := c.order(ctx, j, &found, class)
		if err != nil && outOfStep(err) && !anew[found.Ask.Device] {
			// Either side was stopped between the two writes that have it count a job: what it says is of a
			// session that it is over with.
			anew[found.Ask.Device] = true
			err = c.order(ctx, j, &found, class)
		}
		if err == nil {
			book.Take(found.Ask.Device, class, need.Slots)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		why := types.ReasonOf(err)
		switch why {
		case compute.Busy:
			book.Take(found.Ask.Device, class, ^uint32(0))
		case compute.Draining, compute.Policy, compute.PriceBelowAsk, compute.NoSpace:
		case compute.Unpaid: // others may say something else: it counts what ran there
			unpaid = err
		case types.OverBudget, types.UnknownKey, types.HomeUnwritable, types.BusUnavailable:
			return err // it is no device that says so
		default:
			book.Failed(found.Ask.Device)
		}
		if why == "" {
			why = compute.DeviceLost
		}
		c.log.Debug("compute: a device does not take a job", "device", found.Ask.Device, "job", j.rec.ID, "err", err)
		said[deviceSaid+string(why)]++
		need.Exclude = append(need.Exclude, found.Ask.Device)
	}
}

// outOfStep reports whether a device refuses an order for where its session stands.
func outOfStep(err error) bool {
	switch types.ReasonOf(err) {
	case types.StaleSeq, types.SessionMismatch, types.SessionExpired:
		return true
	}
	return false
}

// order asks one device. When it returns nil, the device has accepted, and the books say so.
func (c *Customer) order(ctx context.Context, j *job, found *match.Found, class types.Class) error {
	now := c.market.Notice().Epoch
	price, err := c.priceOf(j.rec.Job.Profile, found)
	if err != nil {
		return err
	}
	l, err := c.take(sessionOf{j.wallet.Payer(), found.Ask.Device, class}, price, now)
	if err != nil {
		return err
	}
	accepted, asked := false, false
	defer func() {
		if !accepted {
			l.give(asked)
		}
	}()
	l.mu.Lock()
	most := ceiling(price)
	if l.ask != nil {
		most = l.ask.Ask.Price
	}
	o := compute.Order{
		Device: found.Ask.Device, Payer: j.wallet.Payer(), Session: l.session.ID, Index: l.session.Index, Job: j.rec.Job.Hash(), Class: class,
		Slots: j.rec.Want.Slots, Price: price, Ceiling: most, Deadline: uint64(time.Now().Add(2 * time.Second).UnixMilli()), Mode: j.rec.Want.Mode,
		Gateway: c.address, Link: c.link.Key(), RunnerUp: []byte{},
	}
	units, amount := l.session.Units, l.session.Amount
	l.mu.Unlock()
	call, err := c.call(j)
	if err != nil {
		return err
	}
	call.Order = compute.SignedOrder{Order: o, Signature: j.wallet.Sign(compute.DomainOrder, o.Payload())}
	// The device may dial in before its answer is here.
	t := try{Device: o.Device, Session: o.Session, Index: o.Index, Order: o.Hash(), Price: price, At: time.Now().UnixMilli(), Units: units, Amount: amount}
	c.expect(j, t.Order, t.Device)
	defer func() {
		if !accepted {
			c.unexpect(t.Order)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	asked = true
	raw, err := c.market.Ask(ctx, j.wallet, role.Question{Device: o.Device, Kind: compute.KindOrder, Body: call.Encode()})
	if err != nil {
		return err
	}
	answer, err := compute.DecodeAnswer(raw)
	if err != nil {
		return err
	}
	asked = answer.Order != t.Order || answer.Reason == "" // what it refuses it does not begin
	ask, err := answer.Accepts(c.market.Chain(), &o, now)
	if err != nil {
		asked = asked || outOfStep(err)
		return err
	}
	if j.talk != nil {
		if err := j.talk.agree(c, j.rec.Job.Profile, ask, found); err != nil {
			return err
		}
	}
	// The device may have dialled in, and be paid, before this is on the disk: that must not be overwritten.
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	if l.ask != nil && l.ask.Ask.Hash() != ask.Ask.Hash() {
		l.mu.Unlock()
		return types.Refuse(types.SessionMismatch, "compute: device %v answers with another ask for session %v", o.Device, o.Session)
	}
	l.ask = ask
	l.session.Ask = ask.Encode()
	l.session.Index++
	kept := l.session
	l.mu.Unlock()
	accepted = true
	j.mu.Lock()
	j.line = l
	j.rec.Tries = append(j.rec.Tries, t)
	if j.rec.State == Placing {
		j.rec.State = Placed
	}
	rec := j.copy()
	j.changed()
	j.mu.Unlock()
	c.cfg.at("accepted")
	// Both are on disk before the customer has its answer, in one write: a gateway that is killed has both or
	// neither.
	return c.books.putBoth(&rec, l.of, &kept)
}

// call is what travels with an order: small inputs ride along, the smallest first.
func (c *Customer) call(j *job) (*compute.Call, error) {
	call := &compute.Call{Job: j.rec.Job, Files: j.rec.Files, Inputs: make([]compute.Input, len(j.rec.Sizes))}
	if call.Files == nil {
		call.Files = compute.Files{}
	}
	bySize := make([]int, len(j.rec.Sizes))
	for i, s := range j.rec.Sizes {
		call.Inputs[i] = compute.Input{Hash: s.Hash, Size: s.Size, Data: []byte{}}
		bySize[i] = i
	}
	slices.SortFunc(bySize, func(a, b int) int { return int(j.rec.Sizes[a].Size) - int(j.rec.Sizes[b].Size) })
	left := uint64(compute.MaxInline)
	for _, i := range bySize {
		in := &call.Inputs[i]
		if in.Size > left {
			break
		}
		f, err := c.inputs.Open(in.Hash)
		if err != nil {
			return nil, types.Refuse(compute.InputMissing, "compute: input %v: %v", in.Hash, err)
		}
		in.Data = make([]byte, in.Size)
		_, err = io.ReadFull(f, in.Data)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, types.Refuse(compute.InputMissing, "compute: input %v: %v", in.Hash, err)
		}
		left -= in.Size
	}
	slices.SortFunc(call.Inputs, func(a, b compute.Input) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	return call, nil
}
