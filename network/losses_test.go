package network

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// door is a network's gateway as the home's own customer uses it.
type door struct {
	t   *testing.T
	n   *Network
	key string
}

func doorOf(t *testing.T, n *Network) *door {
	t.Helper()
	c, err := ReadCustomer(n.cfg.Home)
	if err != nil {
		t.Fatal(err)
	}
	return &door{t, n, c.APIKey}
}

// do sends a request with a header field or none.
func (d *door) do(ctx context.Context, method, path string, body io.Reader, field ...string) *http.Response {
	d.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, d.n.Addresses().API+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	for i := 0; i+1 < len(field); i += 2 {
		req.Header.Set(field[i], field[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

// put stores content with the lab profile.
func (d *door) put(ctx context.Context, name string, content []byte) customer.Object {
	d.t.Helper()
	res := d.do(ctx, "PUT", "/storage/v1/objects?name="+name, bytes.NewReader(content))
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	var o customer.Object
	if err := json.Unmarshal(raw, &o); err != nil || res.StatusCode != http.StatusCreated {
		d.t.Fatalf("put: %s: %s", res.Status, raw)
	}
	return o
}

func random(seed uint64, n int) []byte {
	content, rng := make([]byte, n), rand.New(rand.NewPCG(seed, 0))
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	return content
}

// stopNodes stops nodes at once, and has them started again when the test is over, or by the function that it
// returns.
func stopNodes(t *testing.T, n *Network, list []int) (restart func()) {
	var all sync.WaitGroup
	for _, i := range list {
		all.Go(func() { n.StopNode(i) })
	}
	all.Wait()
	restart = sync.OnceFunc(func() {
		for _, i := range list {
			if err := n.StartNode(context.Background(), i); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(restart)
	return restart
}

// testLosses stores a file on eight devices and stops some while it is read: with four gone it comes back
// whole, with five the answer says which shards are missing. Nothing takes longer than it may.
func testLosses(t *testing.T, n *Network) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	d := doorOf(t, n)
	content := random(1, 40<<20)
	path := "/storage/v1/objects/" + d.put(ctx, "losses.bin", content).ID
	// begun reads the first MiB, stops nodes, and reads on.
	begun := func(list []int) ([]byte, error, func()) {
		t.Helper()
		res := d.do(ctx, "GET", path, nil)
		defer res.Body.Close()
		head := make([]byte, 1<<20)
		if _, err := io.ReadFull(res.Body, head); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", res.Status, err)
		}
		restart := stopNodes(t, n, list)
		start := time.Now()
		rest, err := io.ReadAll(res.Body)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("the rest took %v", took)
		}
		return append(head, rest...), err, restart
	}
	for _, gone := range [][]int{{0, 1, 2, 3}, {1, 2, 4, 7}} {
		back, err, restart := begun(gone)
		if err != nil || !bytes.Equal(back, content) {
			t.Fatalf("without devices %v: %d bytes, %v", gone, len(back), err)
		}
		restart()
		waitOnline(t, n)
	}
	gone := []int{0, 2, 3, 5, 6}
	back, err, _ := begun(gone)
	if err == nil || len(back) == len(content) || !bytes.Equal(back, content[:len(back)]) {
		t.Fatalf("without five devices: %d of %d bytes, %v", len(back), len(content), err)
	}
	// Whoever asks again, for all or for the rest, learns what is missing.
	for _, from := range []int{0, len(back), len(content) - 1} {
		start := time.Now()
		res := d.do(ctx, "GET", path, nil, "Range", fmt.Sprintf("bytes=%d-", from))
		raw, _ := io.ReadAll(res.Body)
		res.Body.Close()
		var p role.Problem
		if json.Unmarshal(raw, &p) != nil || res.StatusCode != http.StatusServiceUnavailable || p.Reason != storage.ShardsLost || p.Try == "" {
			t.Fatalf("from byte %d without five devices: %s %.400s", from, res.Status, raw)
		}
		named := 0
		for _, i := range gone {
			if strings.Contains(p.Message, n.Node(i).Key().String()) {
				named++
			}
		}
		if named < len(gone) || !strings.Contains(p.Message, "segment") || strings.Count(p.Message, "slot ") < len(gone) || strings.Contains(p.Message, "https://") {
			t.Errorf("from byte %d: it names %d of %d devices: %s", from, named, len(gone), p.Message)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("from byte %d: the answer took %v", from, took)
		}
	}
}

// waitOnline waits until every node is on the bus.
func waitOnline(t *testing.T, n *Network) {
	t.Helper()
	until(t, time.Minute, "all devices online", func() bool {
		return !slices.ContainsFunc(n.devices(), func(d *device) bool { return !d.engine.Status().Online })
	})
}

// until waits for a condition.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) || t.Context().Err() != nil {
			t.Fatalf("never: %s", what)
		}
	}
}
