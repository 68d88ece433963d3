package customer

import (
	"context"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// payEvery is how many bytes are read from a device before the next receipt.
const payEvery = 1 << 20

// linger is how long a device that was given up in favour of faster ones may go on sending what it was asked
// for. What comes in that time is checked and paid for as if somebody had waited for it: it cost the device as
// much.
const linger = 5 * time.Second

// read has take ask the device for n bytes under its egress session and check them, and pays for them then:
// nothing is signed for that did not arrive, or is not what was asked for. What a device sends into a
// connection that breaks is its own risk, bounded by what it serves on trust. When ctx ends, read returns at
// once, and take goes on for a while.
func (h *holder) read(ctx context.Context, n uint64, take func(context.Context, *device, types.SessionID) error) error {
	select {
	case h.reads <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	h.pending.Add(1)
	go func() {
		defer h.pending.Done()
		defer func() { <-h.reads }()
		alone, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		defer context.AfterFunc(ctx, func() { time.AfterFunc(linger, cancel) })()
		d, err := h.take(alone, take)
		done <- err // nobody waits for the receipt: the next one makes up for one that is lost
		if err == nil {
			err = h.pay(alone, d, n, false)
		}
		if err != nil {
			h.log.Debug("storage: read", "device", h.key, "err", err)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take asks, and once more where the device wants to be paid first for what it has served.
func (h *holder) take(ctx context.Context, take func(context.Context, *device, types.SessionID) error) (*device, error) {
	d, err := h.connect(ctx)
	if err != nil {
		return nil, err
	}
	id, err := h.egress(ctx, d)
	if err != nil {
		return nil, err
	}
	err = take(ctx, d, id)
	if types.ReasonOf(err) == storage.Unpaid {
		if err := h.pay(ctx, d, 0, true); err != nil {
			return nil, err
		}
		err = take(ctx, d, id)
	}
	return d, err
}

// egress returns the session for what is read, opening one where there is none or it ends soon.
func (h *holder) egress(ctx context.Context, d *device) (types.SessionID, error) {
	h.resume(ctx, d)
	h.reading.Lock()
	defer h.reading.Unlock()
	now := h.market.Notice().Epoch
	e := &h.state.Egress
	if e.Ask != nil && e.ID.Expiry() > now+2 {
		return e.ID, nil
	}
	ask, err := h.ask(ctx, storage.Egress, nil)
	if err != nil {
		return types.SessionID{}, err
	}
	*e = egress{ID: newSession(now + h.lifetime), Ask: ask, First: now}
	h.unpaid, h.resumed = 0, true
	return e.ID, nil
}

// resume goes on where a session of a former run was: the books may lack the last second of it, but the device
// has the newest receipt. The payer's own signature says that it is one; a device that shows an older one, or
// none, is paid the less.
func (h *holder) resume(ctx context.Context, d *device) {
	h.reading.Lock()
	e := h.state.Egress
	done := h.resumed || e.Ask == nil
	h.reading.Unlock()
	if done {
		return
	}
	signed, err := d.newest(ctx, e.ID, h.market.Chain())
	if err != nil && types.ReasonOf(err) == "" {
		return // it is asked again next time
	}
	h.reading.Lock()
	defer h.reading.Unlock()
	if h.resumed || h.state.Egress.ID != e.ID {
		return
	}
	h.resumed = true
	if err != nil {
		return
	}
	r := &signed.Receipt
	if r.Session != e.ID || r.Payer != h.wallet.Payer() || r.Device != h.key || !signed.VerifyPayer() {
		h.log.Warn("storage: a device shows a receipt that is not this payer's", "device", h.key, "session", e.ID)
		return
	}
	if now := &h.state.Egress; now.Units.Cmp(r.Units) < 0 {
		now.Units = r.Units
	}
	h.state.Egress.Seq = max(h.state.Egress.Seq, r.Seq)
}

// pay counts n bytes as received, and signs for all that was received once it is worth a receipt, or at once.
func (h *holder) pay(ctx context.Context, d *device, n uint64, atOnce bool) error {
	h.reading.Lock()
	e := &h.state.Egress
	e.Units, _ = e.Units.Add(types.U64(n))
	h.unpaid += n
	if h.unpaid < payEvery && !atOnce || e.Ask == nil {
		h.reading.Unlock()
		return nil
	}
	amount, err := storage.Amount(e.Units, e.Ask.Ask.Price)
	if err != nil {
		h.reading.Unlock()
		return err
	}
	e.Seq++
	h.unpaid = 0
	r := receipt.Receipt{
		Chain: h.market.Chain(), Category: types.Storage, Session: e.ID, Payer: h.wallet.Payer(), Device: h.key,
		Terms: e.Ask.Ask.Hash(), Units: e.Units, Amount: amount, Seq: e.Seq, First: e.First,
	}
	h.reading.Unlock()
	signed := &receipt.Signed{Receipt: r, PayerSig: h.wallet.Sign("receipt", r.Bytes())}
	h.publish(signed)
	return d.receipt(ctx, signed)
}

// publish puts the newest receipt on the bus, and the session into the books, within a second: not for each MiB.
func (h *holder) publish(signed *receipt.Signed) {
	h.reading.Lock()
	defer h.reading.Unlock()
	late := h.newest == nil
	h.newest = signed
	if !late {
		return
	}
	h.pending.Add(1)
	time.AfterFunc(time.Second, func() {
		defer h.pending.Done()
		h.flush()
	})
}

// flush publishes the newest receipt now.
func (h *holder) flush() {
	h.reading.Lock()
	signed := h.newest
	h.newest = nil
	h.reading.Unlock()
	if signed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := h.market.Publish(ctx, signed); err != nil {
		h.log.Warn("storage: publish receipt", "device", h.key, "err", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(nil); err != nil {
		h.log.Error("storage: keep receipt", "device", h.key, "err", err)
	}
}
