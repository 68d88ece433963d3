package customer

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

const queueChain = "cairn-test"

// teller is a wallet with an account.
type teller struct{ keys }

func (teller) Account() types.Account { return types.Account{7} }
func (teller) Sign(kind string, payload []byte) types.Signature {
	return types.NewPrivateKey([32]byte{2}).Sign(kind, queueChain, payload)
}

type oneMarket struct{ offers }

func (*oneMarket) Chain() string        { return queueChain }
func (*oneMarket) Region() types.Region { return 0 }
func (*oneMarket) Log() *slog.Logger    { return slog.New(slog.DiscardHandler) }

// keeper is a device that holds whatever it is asked to, but for some shards.
type keeper struct {
	key     types.PrivateKey
	refuses map[types.Hash]bool
	begun   chan bool // if not nil, told of each commit before it is done
	goOn    chan bool

	mu      sync.Mutex
	list    *storage.Shards
	commits [][]types.Hash // what each appended that was asked for
	ladders int
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	switch {
	case r.URL.Path == storage.PathCommit:
		if k.begun != nil {
			k.begun <- true
			<-k.goOn
		}
		c, err := storage.DecodeCommit(raw)
		if err != nil {
			role.WriteError(w, err, http.StatusBadRequest)
			return
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		var ids []types.Hash
		for _, op := range c.Ops {
			ids = append(ids, op.Shard.ID)
		}
		k.commits = append(k.commits, ids)
		if i := slices.IndexFunc(ids, func(id types.Hash) bool { return k.refuses[id] }); i >= 0 {
			role.WriteError(w, types.Refuse(storage.NoShard, "shard %v", ids[i]), http.StatusNotFound)
			return
		}
		h := &c.Holding.Holding
		if err := k.list.Commit(h.Revision, c.Ops); err != nil || k.list.Root() != h.Node() {
			role.WriteError(w, types.Refuse(storage.RootMismatch, "%v", err), http.StatusConflict)
			return
		}
		_, _ = w.Write((&storage.Committed{Revision: h.Revision, Signature: k.key.Sign(storage.DomainHeld, queueChain, h.Payload())}).Encode())
	case r.URL.Path == storage.PathLadder:
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ladders++
	default:
		k.mu.Lock()
		defer k.mu.Unlock()
		root := k.list.Root()
		st := &storage.SessionStatus{Revision: k.list.Revision(), Root: root.Hash, Shards: uint64(k.list.Len()), Bytes: root.Sum}
		_, _ = w.Write(st.Encode())
	}
}

// TestCommitTogether: what waits while a commit is under way becomes one revision, and what is wrong with one
// of them is that one's own.
func TestCommitTogether(t *testing.T) {
	k := &keeper{key: types.NewPrivateKey([32]byte{50}), refuses: map[types.Hash]bool{}, begun: make(chan bool), goOn: make(chan bool)}
	k.list, _ = storage.NewShards(0, nil)
	terms := storage.Terms{Address: serve(t, k.key, k.ServeHTTP)}
	ask := receipt.Ask{Device: k.key.Public(), Price: 1 << 20, Terms: terms.Encode()}
	market := &oneMarket{offers{list: []role.Offer{{Ask: ask.Sign(k.key)}}}}
	b, err := openBooks(filepath.Join(t.TempDir(), "books.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.db.Close() })
	h, err := openHolder(teller{}, market, b, &pool{dial: new(net.Dialer).DialContext}, k.key.Public(), 100)
	if err != nil {
		t.Fatal(err)
	}
	shard := func(i int) storage.Shard { return storage.Shard{ID: types.Hash{byte(i), 1}, Bytes: 1000} }
	k.refuses[shard(3).ID] = true
	errs := make([]error, 8)
	var group sync.WaitGroup
	commit := func(ctx context.Context, i int) {
		group.Go(func() { errs[i] = h.commit(ctx, []storage.Shard{shard(i)}) })
	}
	waiting := func(n int) {
		t.Helper()
		for {
			h.queue.mu.Lock()
			got := len(h.queue.waiting)
			h.queue.mu.Unlock()
			if got == n {
				return
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	commit(ctx, 0)
	<-k.begun
	for i := 1; i < 8; i++ {
		commit(t.Context(), i)
		waiting(i)
	}
	cancel() // who began gives up; the others do not suffer from it
	k.goOn <- true
	<-k.begun // seven at once, which are refused for one of them, and then each alone
	close(k.goOn)
	go func() {
		for range k.begun {
		}
	}()
	group.Wait()
	for i, err := range errs {
		if (types.ReasonOf(err) == storage.NoShard) != (i == 3) || i != 3 && err != nil {
			t.Errorf("shard %d: %v", i, err)
		}
		if _, held := k.list.Slot(shard(i).ID); held != (i != 3) {
			t.Errorf("shard %d is held: %t", i, held)
		}
	}
	if len(k.commits) < 2 || len(k.commits[0]) != 1 || len(k.commits[1]) != 7 {
		t.Errorf("commits %v", k.commits)
	}
}

// TestQueue: what is taken fits a commit, and names no shard twice.
func TestQueue(t *testing.T) {
	var q queue
	many := func(from, n int) (list []storage.Shard) {
		for i := range n {
			list = append(list, storage.Shard{ID: types.Hash{byte((from + i) >> 8), byte(from + i), 1}, Bytes: 1})
		}
		return list
	}
	const most = storage.MaxCommitOps / 2
	for _, r := range [][]storage.Shard{many(0, 10), many(10, 10), many(15, 3), many(20, most), many(0, most+5), many(0, 1)} {
		q.add(r)
	}
	for i, want := range []int{2, 1, 1, 1, 1, 0} {
		if got := q.take(); len(got) != want {
			t.Fatalf("take %d: %d, want %d", i, len(got), want)
		}
	}
}
