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

// maxTrust bounds what is signed for on a device's word alone, in bytes, once after a start: what Terms.Unpaid usually is.
const maxTrust = 4 << 20

// read takes n bytes from the device under its egress session and pays for them.
func (h *holder) read(ctx context.Context, n uint64, take func(*device, types.SessionID) error) error {
	select {
	case h.reads <- struct{}{}:
		defer func() { <-h.reads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	d, err := h.connect(ctx)
	if err != nil {
		return err
	}
	id, err := h.egress(ctx)
	if err != nil {
		return err
	}
	h.request(n)
	err = take(d, id)
	if types.ReasonOf(err) == storage.Unpaid {
		// It counts what it sent and nobody waited for, or a receipt was lost: agree on that, and try again.
		h.withdraw(id, n)
		if err := h.agree(ctx, d, id); err != nil {
			return err
		}
		h.request(n)
		err = take(d, id)
	}
	if types.ReasonOf(err) != "" {
		h.withdraw(id, n)
	}
	if err != nil {
		return err
	}
	return h.pay(ctx, d, n, false)
}

// egress returns the session for what is read, opening one where there is none or it ends soon.
func (h *holder) egress(ctx context.Context) (types.SessionID, error) {
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
	h.unpaid, h.requested = 0, types.U128{}
	return e.ID, nil
}

// request notes that n bytes are asked for: more than that, and what a device serves on trust, is never signed for.
func (h *holder) request(n uint64) {
	h.reading.Lock()
	defer h.reading.Unlock()
	if e := &h.state.Egress; h.requested.IsZero() {
		trust := uint64(0)
		if terms, err := storage.DecodeTerms(e.Ask.Ask.Terms); err == nil {
			trust = min(terms.Unpaid, maxTrust)
		}
		h.requested, _ = e.Units.Add(types.U64(trust)) // what was asked for before a restart is not known exactly
	}
	h.requested, _ = h.requested.Add(types.U64(n))
}

// withdraw takes a request back that the device refused, or answered with something else: nothing is owed for that, whatever it
// counts.
func (h *holder) withdraw(id types.SessionID, n uint64) {
	h.reading.Lock()
	defer h.reading.Unlock()
	if rest, err := h.requested.Sub(types.U64(n)); err == nil && h.state.Egress.ID == id {
		h.requested = rest
	}
}

// agree signs for what the device says it has served, as far as it was asked for. It serves reads that were given up in favour of
// faster devices, and they cost it as much.
func (h *holder) agree(ctx context.Context, d *device, id types.SessionID) error {
	status, err := d.session(ctx, id)
	if err != nil {
		return err
	}
	h.reading.Lock()
	served := types.U64(status.Served)
	if served.Cmp(h.requested) > 0 {
		served = h.requested
	}
	if h.state.Egress.ID == id && h.state.Egress.Units.Cmp(served) < 0 {
		h.state.Egress.Units = served
	}
	h.reading.Unlock()
	return h.pay(ctx, d, 0, true)
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
	h.reading.Lock()
	defer h.reading.Unlock()
	if err := h.keep(nil); err != nil {
		h.log.Error("storage: keep receipt", "device", h.key, "err", err)
	}
}
