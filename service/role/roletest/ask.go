package roletest

import (
	"context"
	"crypto/rand"
	"os"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Ask has the device's Requests serve, as a node would; who asks is the wallet's key, and it may pay.
func (m *Market) Ask(ctx context.Context, w role.Wallet, q role.Question) ([]byte, error) {
	return m.w.ask(ctx, w.Payer(), role.Payers, q)
}

// ask finds the device that is asked, and asks it.
func (w *World) ask(ctx context.Context, from types.Key, who role.Askers, q role.Question) ([]byte, error) {
	d := w.device(q.Device)
	if d == nil || d.Requests == nil {
		return nil, types.Refuse(types.DeviceAway, "roletest: ask %v", q.Device)
	}
	h, ok := d.Requests[q.Kind]
	switch {
	case len(q.Body) > role.MaxAsked:
		return nil, types.Refuse(types.Oversize, "roletest: ask with %d bytes", len(q.Body))
	case !ok:
		return nil, types.Refuse(types.UnknownRequest, "roletest: ask for %s", q.Kind)
	case h.From&who == 0:
		return nil, types.Refuse(types.NotPermitted, "roletest: ask for %s", q.Kind)
	}
	if who == role.Payers {
		_, _ = w.payer(from) // a node asks about a payer before its provider hears of the request
	}
	until, limited := ctx.Deadline()
	if !limited {
		until = time.Now().Add(3 * time.Second)
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	var parts atomic.Uint32
	r := &role.Request{From: from, Kind: q.Kind, Body: q.Body, Until: until, Send: func(part []byte) error {
		n := parts.Add(1) - 1
		if q.Each != nil {
			q.Each(role.Part{Number: n, At: time.Now(), Body: part})
		}
		return nil
	}}
	rand.Read(r.ID[:])
	rand.Read(r.Hash[:])
	answer, err := h.Serve(ctx, d, r)
	switch {
	case ctx.Err() != nil:
		return nil, types.Refuse(types.DeviceLate, "roletest: ask for %s", q.Kind)
	case err != nil && types.ReasonOf(err) == "":
		return nil, types.Refuse(types.DeviceFailed, "roletest: ask for %s: %v", q.Kind, err)
	case err != nil:
		return nil, err
	}
	return answer, nil
}

// Fetch has the device's Blobs serve, as a node would, in one piece.
func (m *Market) Fetch(ctx context.Context, w role.Wallet, f role.Fetch) (int64, error) {
	return m.w.fetch(ctx, w.Payer(), role.Payers, f)
}

// fetch fetches from the device that is asked.
func (w *World) fetch(ctx context.Context, from types.Key, who role.Askers, f role.Fetch) (int64, error) {
	if have, err := os.ReadFile(f.Path); err == nil && types.Sum(have) == f.Hash {
		return int64(len(have)), nil
	}
	d := w.device(f.Device)
	if d == nil || d.Blobs == nil {
		return 0, types.Refuse(types.DeviceAway, "roletest: fetch from %v", f.Device)
	}
	if d.Blobs.From&who == 0 {
		return 0, types.Refuse(types.NotPermitted, "roletest: fetch from %v", f.Device)
	}
	blob, err := d.Blobs.Open(ctx, d, from, f.Hash)
	if err != nil {
		return 0, err
	}
	if blob.Close != nil {
		defer blob.Close()
	}
	switch {
	case blob.Size > f.Most:
		return 0, types.Refuse(types.Oversize, "roletest: fetch %d bytes", blob.Size)
	case blob.Size > d.Blobs.Each:
		return 0, types.Refuse(types.OverQuota, "roletest: fetch %d bytes", blob.Size)
	}
	data := make([]byte, blob.Size)
	if n, err := blob.ReadAt(data, 0); n < len(data) {
		return 0, types.Refuse(types.DeviceFailed, "roletest: fetch: %v", err)
	}
	if types.Sum(data) != f.Hash {
		return 0, types.Refuse(types.BadAnswer, "roletest: fetch %v", f.Hash)
	}
	return blob.Size, os.WriteFile(f.Path, data, 0o600)
}

// device returns the device of a key; nil for none.
func (w *World) device(key types.Key) *Device {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.devices {
		if d.Key() == key {
			return d
		}
	}
	return nil
}

// Beat implements role.Host: offers show it until the next one, however long that takes.
func (d *Device) Beat(class types.Class, free types.U128, draining bool) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	of := offer{d.category, class}
	ask := d.asks[of]
	if ask == nil {
		return
	}
	if free.Cmp(ask.Ask.Capacity) > 0 {
		free = ask.Ask.Capacity
	}
	d.beats[of] = role.Beat{Device: d.key.Public(), Class: class, Ask: ask.Ask.Hash(), Free: free, Draining: draining, At: time.Now()}
}

// beat returns what the device said last of an ask; nil for nothing. The world's lock is held.
func (d *Device) beat(ask *receipt.SignedAsk) *role.Beat {
	b, ok := d.beats[offer{ask.Ask.Category, ask.Ask.Class}]
	if !ok || b.Ask != ask.Ask.Hash() {
		return nil
	}
	b.At = time.Now() // a node repeats it every few seconds
	return &b
}
