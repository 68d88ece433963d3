package customer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// readers is a market in which shards can be read and receipts signed.
type readers struct{ offers }

func (*readers) Chain() string                                  { return "cairn-test-1" }
func (*readers) Notice() role.Notice                            { return role.Notice{Epoch: 5} }
func (*readers) Publish(context.Context, *receipt.Signed) error { return nil }

type signer struct{ keys }

func (signer) Sign(kind string, payload []byte) types.Signature {
	return types.NewPrivateKey([32]byte{2}).Sign(kind, "cairn-test-1", payload)
}

// TestPayForNothing: a device that says it served what it refused, broke off, or replaced by something else is
// signed for nothing.
func TestPayForNothing(t *testing.T) {
	shard := bytes.Repeat([]byte("what was asked for"), 20<<10)
	proof, err := storage.ExtractSlice(shard, 1<<10, 200<<10)
	if err != nil {
		t.Fatal(err)
	}
	proof[len(proof)-1]++
	for name, serveShard := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, r *http.Request) {
			role.WriteError(w, types.Refuse(storage.Unpaid, "first pay"), http.StatusPaymentRequired)
		},
		"serves anything": func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, len(shard))) },
		"breaks off": func(w http.ResponseWriter, r *http.Request) {
			w.Write(shard[:len(shard)-1])
			panic(http.ErrAbortHandler)
		},
		"breaks off every other time, and wants to be paid for it": func() http.HandlerFunc {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%2 == 0 {
					role.WriteError(w, types.Refuse(storage.Unpaid, "first pay"), http.StatusPaymentRequired)
					return
				}
				w.Write(shard[:len(shard)/2])
				panic(http.ErrAbortHandler)
			}
		}(),
		"proves nothing": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("length") {
				w.Write(proof)
			} else {
				panic(http.ErrAbortHandler)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSeller(t, serveShard)
			d, seg := s.download(shard)
			for range 5 {
				if err := d.Shard(t.Context(), 0, seg, 0, pipeline.NewIncoming(seg.Shards[0], make([]byte, len(shard)))); err == nil {
					t.Fatal("that was no shard")
				}
				if _, err := d.Slice(t.Context(), 0, seg, 0, 1<<10, 200<<10); err == nil {
					t.Fatal("that was no slice")
				}
			}
			d.holders[0].pending.Wait()
			if err := d.holders[0].pay(t.Context(), mustConnect(t, d.holders[0]), 0, true); err != nil {
				t.Fatal(err)
			}
			if got := s.most.Load(); got != 0 {
				t.Fatalf("%d bytes are signed for", got)
			}
		})
	}
}

// TestPayForLate: what a device sends after it was given up is paid for if it is the shard, and written nowhere.
func TestPayForLate(t *testing.T) {
	shard := bytes.Repeat([]byte("late"), 256<<10)
	begun, goOn := make(chan bool), make(chan bool)
	s := newSeller(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(shard[:1<<10])
		http.NewResponseController(w).Flush()
		close(begun)
		<-goOn
		w.Write(shard[1<<10:])
	})
	d, seg := s.download(shard)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	dst := make([]byte, len(shard))
	into := pipeline.NewIncoming(seg.Shards[0], dst)
	if err := d.Shard(ctx, 0, seg, 0, into); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	into.TakeBack()
	clear(dst)
	close(goOn)
	d.holders[0].pending.Wait()
	if got := s.most.Load(); got != uint64(len(shard)) {
		t.Errorf("%d bytes are signed for, want %d", got, len(shard))
	}
	if !bytes.Equal(dst, make([]byte, len(shard))) {
		t.Error("memory that was taken back was written to")
	}
}

// TestResume: a gateway that has forgotten its last receipts goes on from the one that the device has, if that
// is its own.
func TestResume(t *testing.T) {
	shard := bytes.Repeat([]byte("more"), 256<<10)
	for name, key := range map[string]byte{"its own": 2, "made up": 3} {
		t.Run(name, func(t *testing.T) {
			s := newSeller(t, func(w http.ResponseWriter, r *http.Request) { w.Write(shard) })
			d, seg := s.download(shard)
			h := d.holders[0]
			h.state.Egress = egress{ID: newSession(100), Ask: s.ask, First: 1, Units: types.U64(10), Seq: 1}
			r := receipt.Receipt{Chain: "cairn-test-1", Category: types.Storage, Session: h.state.Egress.ID, Payer: h.wallet.Payer(), Device: h.key,
				Terms: s.ask.Ask.Hash(), Units: types.U64(5 << 20), Amount: 5 << 19, Seq: 77, First: 1}
			s.newest = &receipt.Signed{Receipt: r, PayerSig: types.NewPrivateKey([32]byte{key}).Sign("receipt", "cairn-test-1", r.Bytes())}
			if err := d.Shard(t.Context(), 0, seg, 0, pipeline.NewIncoming(seg.Shards[0], make([]byte, len(shard)))); err != nil {
				t.Fatal(err)
			}
			h.pending.Wait()
			want, seq := uint64(10+len(shard)), uint64(2)
			if key == 2 {
				want, seq = uint64(5<<20+len(shard)), 78
			}
			if got := s.most.Load(); got != want || h.state.Egress.Seq != seq {
				t.Errorf("%d bytes are signed for by receipt %d, want %d by %d", got, h.state.Egress.Seq, want, seq)
			}
		})
	}
}

// seller is a device that sells what it is asked for in a way of its own, and one payer's side of it.
type seller struct {
	market *readers
	key    types.PrivateKey
	ask    *receipt.SignedAsk
	newest *receipt.Signed
	most   atomic.Uint64 // bytes that were signed for
}

func newSeller(t *testing.T, serveShard http.HandlerFunc) *seller {
	s := &seller{market: &readers{}, key: types.NewPrivateKey([32]byte{100})}
	address := serve(t, s.key, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, storage.PathShard):
			serveShard(w, r)
		case r.URL.Path == storage.PathReceipt:
			raw, _ := io.ReadAll(r.Body)
			signed, err := receipt.Decode(raw, "cairn-test-1")
			if err != nil {
				t.Error(err)
				return
			}
			s.most.Store(max(s.most.Load(), signed.Receipt.Units.Lo))
		case strings.HasSuffix(r.URL.Path, storage.PathNewest):
			w.Write(s.newest.Encode())
		default:
			w.Write((&storage.SessionStatus{Served: 1 << 40}).Encode())
		}
	})
	ask := receipt.Ask{Device: s.key.Public(), Class: storage.Egress, Price: 1 << 39, Terms: (&storage.Terms{Address: address, Unpaid: 4 << 20}).Encode()}
	s.ask = ask.Sign(s.key)
	s.market.list = append(s.market.list, role.Offer{Ask: s.ask})
	return s
}

// download prepares reading an object of one segment, whose shard in slot 0 the device should have.
func (s *seller) download(shard []byte) (*download, pipeline.Segment) {
	h := &holder{
		holding: holding{wallet: signer{}, market: s.market, key: s.key.Public(), log: slog.New(slog.DiscardHandler), state: new(session), reading: new(sync.Mutex)},
		pool:    &pool{dial: new(net.Dialer).DialContext}, reads: make(chan struct{}, maxReads), newest: new(receipt.Signed), // as if one waited to be published already
	}
	seg := pipeline.Segment{Length: uint32(len(shard)), Shards: []types.Hash{storage.ShardID(shard)}}
	return &download{k: 1, holders: []*holder{h}, slow: make([]time.Duration, 1)}, seg
}

func mustConnect(t *testing.T, h *holder) *device {
	t.Helper()
	d, err := h.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}
