package customer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// offers is a market where nothing is known but asks.
type offers struct {
	role.Market
	list []role.Offer
}

func (o *offers) Offers(_ context.Context, w role.Want) ([]role.Offer, []role.Passed, error) {
	return slices.DeleteFunc(slices.Clone(o.list), func(x role.Offer) bool { return !w.Device.IsZero() && x.Ask.Ask.Device != w.Device }), nil, nil
}

func (o *offers) Notice() role.Notice { return role.Notice{Epoch: 1} }

type keys struct{ role.Wallet }

func (keys) TLS() types.PrivateKey { return types.NewPrivateKey([32]byte{2}) }
func (keys) Payer() types.Key      { return types.NewPrivateKey([32]byte{2}).Public() }

// uploadTo prepares an upload to eight devices, each with a handler of its own.
func uploadTo(t *testing.T, handlers []http.HandlerFunc) *upload {
	t.Helper()
	market, open := &offers{}, &pool{dial: new(net.Dialer).DialContext}
	var holders []*holder
	for i, handler := range handlers {
		key := types.NewPrivateKey([32]byte{100, byte(i)})
		ask := receipt.Ask{Device: key.Public(), Terms: (&storage.Terms{Address: serve(t, key, handler)}).Encode()}
		market.list = append(market.list, role.Offer{Ask: ask.Sign(key)})
		holders = append(holders, &holder{holding: holding{wallet: keys{}, market: market, key: key.Public(), state: new(session), reading: new(sync.Mutex)}, pool: open})
	}
	return newUpload(&account{wallet: keys{}, market: market}, ObjectID{}, pipeline.Lab, holders)
}

func segment(i int) (pipeline.Segment, [][]byte) {
	seg := pipeline.Segment{ID: pipeline.SegmentID{byte(i)}, Length: 4096}
	var shards [][]byte
	for slot := range 8 {
		shard := fmt.Appendf(nil, "shard %d of segment %d", slot, i)
		shards = append(shards, shard)
		seg.Shards = append(seg.Shards, storage.ShardID(shard))
	}
	return seg, shards
}

func takes(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

func refuses(w http.ResponseWriter, r *http.Request) {
	role.WriteError(w, types.Refuse(storage.Full, "no room"), http.StatusInsufficientStorage)
}

// TestSlowDevice: an upload waits for a device that hangs a few times, and then does without it.
func TestSlowDevice(t *testing.T) {
	t.Parallel()
	hang := func(w http.ResponseWriter, r *http.Request) { takes(w, r); <-r.Context().Done() }
	handlers := slices.Repeat([]http.HandlerFunc{takes}, 8)
	handlers[3] = hang
	u := uploadTo(t, handlers)
	for i := range patience + 10 {
		seg, shards := segment(i)
		start := time.Now()
		if err := u.segment(t.Context(), i, seg, shards); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); i >= patience && took > grace/2 {
			t.Errorf("segment %d still waited %v", i, took)
		}
		if !u.missing[[2]int{i, 3}] || len(u.slots[3].fresh) != 0 || len(u.slots[4].fresh) != i+1 {
			t.Errorf("segment %d: missing %v", i, u.missing)
		}
	}
}

func TestTooFewDevices(t *testing.T) {
	handlers := slices.Repeat([]http.HandlerFunc{takes}, 8)
	handlers[1], handlers[2] = refuses, refuses
	seg, shards := segment(0)
	err := uploadTo(t, handlers).segment(t.Context(), 0, seg, shards)
	if types.ReasonOf(err) != storage.TooFewDevices {
		t.Errorf("got %v", err)
	}
	handlers[2] = takes
	if err := uploadTo(t, handlers).segment(t.Context(), 0, seg, shards); err != nil {
		t.Errorf("seven of eight: %v", err)
	}
}

// TestOrder: who fails is asked last; who was merely not needed keeps its place.
func TestOrder(t *testing.T) {
	d := &download{object: &object{}, slow: make([]time.Duration, 8)}
	seg, _ := segment(0)
	_ = d.timed(0, func() error { return errors.New("connection refused") })
	_ = d.timed(1, func() error { return fmt.Errorf("get: %w", context.Canceled) })
	for slot := 2; slot < 8; slot++ {
		d.slow[slot] = d.slow[1]
	}
	if got := d.Order(0, seg); got[7] != 0 || got[0] != 1 {
		t.Errorf("order %v", got)
	}
}
