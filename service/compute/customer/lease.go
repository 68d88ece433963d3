package customer

import (
	"context"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/role"
)

// A request to a model costs no match and no order where a job of class model is at hand that the account asks
// nothing else: each is kept for idleTime after its last request, and leaseTime at most, so that a device that
// asks less is found.
const (
	idleTime   = time.Minute
	leaseTime  = 10 * time.Minute
	mostLeases = 64 // of an account at a time: as many requests are answered at once
	leaseLimit = 1 << 40
)

// leaseOf says whose jobs of class model are alike.
type leaseOf struct {
	payer types.Key
	model string
}

// lease returns a job of a model that is the caller's until giveBack or let: one that is at hand, or a new one.
// Devices in not are left out.
func (c *Customer) lease(ctx context.Context, wallet role.Wallet, model string, most uint64, not []types.Key) (j *job, warm bool, err error) {
	of := leaseOf{wallet.Payer(), model}
	c.mu.Lock()
	for list := c.idle[of]; len(list) > 0; list = c.idle[of] {
		j := list[len(list)-1]
		c.unidle(of, j)
		if t := j.talk; t.over() || time.Since(t.began) > leaseTime || t.price > most || slices.Contains(not, t.device) {
			c.mu.Unlock()
			c.let(j)
			c.mu.Lock()
			continue
		}
		c.mu.Unlock()
		return j, true, nil
	}
	if c.leases[wallet.Account()] >= mostLeases {
		c.mu.Unlock()
		return nil, false, types.Refuse(compute.TooBusy, "compute: %d requests of this account are being answered", mostLeases)
	}
	c.leases[wallet.Account()]++
	c.mu.Unlock()
	if j, err = c.open(ctx, wallet, model, most, not); err != nil {
		c.closed(wallet.Account())
	}
	return j, false, err
}

// unidle takes a job out of those at hand. mu is held.
func (c *Customer) unidle(of leaseOf, j *job) {
	list := slices.DeleteFunc(c.idle[of], func(o *job) bool { return o == j })
	if c.idle[of] = list; len(list) == 0 {
		delete(c.idle, of)
	}
	if j.talk.idle != nil {
		j.talk.idle.Stop()
	}
}

func (c *Customer) closed(account types.Account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leases[account]--; c.leases[account] <= 0 {
		delete(c.leases, account)
	}
}

// open orders a job of a model.
func (c *Customer) open(ctx context.Context, wallet role.Wallet, model string, most uint64, not []types.Key) (*job, error) {
	account := wallet.Account()
	if err := c.admit(account, 0); err != nil {
		return nil, err
	}
	j, err := c.newJob(wallet, &submitted{
		name: model, want: want{Slots: 1, Price: most, Mode: compute.Private}, files: compute.Files{},
		job: compute.Job{
			Profile: compute.ModelProfile + model, Args: []string{}, Env: []string{}, Stdin: compute.Nothing, Input: compute.Files{}.Root(), Limit: leaseLimit,
		},
	})
	if err == nil {
		j.talk, j.exclude = c.newTalk(j), not
		if err = c.place(context.WithoutCancel(ctx), j); err == nil {
			c.background.Go(func() { c.attend(j, lostAfter) })
			return j, nil
		}
		c.drop(j)
	}
	c.dismiss(account, 0)
	return nil, &notPlaced{err, j}
}

// agree takes in the ask with which a device accepts: tokens count as what it published, whatever the session's
// ask says.
func (t *talk) agree(c *Customer, profile string, ask *receipt.SignedAsk, found *match.Found) error {
	p, ok := c.shelves.weights(profile, found.Ask.Device)
	terms, err := compute.DecodeTerms(ask.Ask.Terms, compute.Model)
	if err != nil {
		return err
	}
	if !ok || !slices.Contains(terms.Profiles, p) {
		return types.Refuse(compute.ClassMismatch, "compute: device %v weighs tokens of %s otherwise in this session than in what it publishes", found.Ask.Device, profile)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.weight, t.device, t.price = p, found.Ask.Device, uint64(found.Ask.Price)
	return nil
}

// quiet reports whether what ended a job of class model is no fault of its device's: nobody asked it anything.
// t's job is locked.
func (t *talk) quiet(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now == nil && types.ReasonOf(err) == compute.DeviceLost
}

// giveBack has a job at hand for the next request, for a while.
func (c *Customer) giveBack(j *job) {
	t := j.talk
	of := leaseOf{j.rec.Payer, j.rec.Name} // both never change
	if t.over() || time.Since(t.began) > leaseTime || c.ctx.Err() != nil {
		c.let(j)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle[of] = append(c.idle[of], j)
	t.idle = time.AfterFunc(idleTime, func() {
		c.mu.Lock()
		mine := slices.Contains(c.idle[of], j)
		if mine {
			c.unidle(of, j)
		}
		c.mu.Unlock()
		if mine {
			c.let(j)
		}
	})
}

// let has a job of class model end.
func (c *Customer) let(j *job) {
	t := j.talk
	if t.over() {
		return
	}
	t.mu.Lock()
	s, busy := t.stream, t.now != nil
	t.mu.Unlock()
	if s == nil || busy || s.Write(link.Frame{Kind: link.Stop}) != nil {
		j.cancel(errCancelled)
		return
	}
	time.AfterFunc(lostAfter, func() { j.cancel(errCancelled) }) // a device that does not listen
}

// attend sees a job of class model to its end. It begins nowhere anew: requests do.
func (c *Customer) attend(j *job, patience time.Duration) {
	ended := c.await(c.ctx, j, patience)
	j.mu.Lock()
	why := j.over
	j.mu.Unlock()
	if why == nil {
		why = types.Refuse(compute.TrapCut, "compute: the job has ended")
	}
	j.talk.lose(why)
	c.mu.Lock()
	c.unidle(leaseOf{j.rec.Payer, j.rec.Name}, j)
	c.mu.Unlock()
	c.closed(j.rec.Account)
	if !ended && c.ctx.Err() != nil {
		return // the books have it
	}
	if !ended {
		c.fail(j, why)
	}
	rec, _ := j.snapshot()
	c.log.Debug("compute: requests to a model are over", "job", rec.ID, "device", j.talk.device, "units", rec.Fuel, "paid", rec.Paid, "reason", string(rec.Reason))
	// There is nothing in it to read later: what was paid the account's spending says.
	if err := c.books.forget(&rec); err != nil {
		c.log.Warn("compute: forget a job", "job", rec.ID, "err", err)
	}
	if err := j.out.Remove(); err != nil {
		c.log.Warn("compute: remove outputs", "job", rec.ID, "err", err)
	}
}
