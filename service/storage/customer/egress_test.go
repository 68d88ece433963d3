package customer

import (
	"context"
	"io"
	"net/http"
	"strings"
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

// TestPayForNothing: a device that says it served what it refused, or serves something else, is signed for nothing.
func TestPayForNothing(t *testing.T) {
	shard := []byte("what was asked for")
	for name, serveShard := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, r *http.Request) {
			role.WriteError(w, types.Refuse(storage.Unpaid, "first pay"), http.StatusPaymentRequired)
		},
		"serves anything": func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, len(shard))) },
	} {
		t.Run(name, func(t *testing.T) {
			var most atomic.Uint64
			key := types.NewPrivateKey([32]byte{100})
			address := serve(t, key, func(w http.ResponseWriter, r *http.Request) {
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
					most.Store(max(most.Load(), signed.Receipt.Units.Lo))
				default:
					w.Write((&storage.SessionStatus{Served: 1 << 40}).Encode())
				}
			})
			market := &readers{}
			ask := receipt.Ask{Device: key.Public(), Class: storage.Egress, Price: 1 << 39, Terms: (&storage.Terms{Address: address}).Encode()}
			market.list = append(market.list, role.Offer{Ask: ask.Sign(key)})
			h := &holder{holding: holding{wallet: signer{}, market: market, key: key.Public(), state: new(session)}, pool: &pool{},
				reads: make(chan struct{}, maxReads), newest: new(receipt.Signed)} // as if one waited to be published already
			d := &download{holders: []*holder{h}, slow: make([]time.Duration, 1)}
			seg := pipeline.Segment{Shards: []types.Hash{storage.ShardID(shard)}}
			for range 5 {
				if err := d.Shard(t.Context(), 0, seg, 0, make([]byte, len(shard))); err == nil {
					t.Fatal("that was no shard")
				}
			}
			if err := h.pay(t.Context(), mustConnect(t, h), 0, true); err != nil {
				t.Fatal(err)
			}
			if got := most.Load(); got != 0 {
				t.Fatalf("%d bytes are signed for", got)
			}
		})
	}
}

func mustConnect(t *testing.T, h *holder) *device {
	t.Helper()
	d, err := h.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}
