package provider_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// TestSpare: a device that does not answer is replaced by one of another owner before a PUT answers, so that
// any four may go.
func TestSpare(t *testing.T) {
	n := newNet(t, 9)
	n.Next()
	n.devices[3].Stop()
	data := random(40, 9<<20)
	id := n.put(data)
	o := n.list()[0]
	if o.Shards != 8*3 {
		t.Fatalf("%d shards, want 24", o.Shards)
	}
	for _, i := range []int{0, 1, 2, 4} {
		n.devices[i].Stop()
	}
	n.get(id, data)
}

// TestCompleteLater: where there is no other device, the answer says how many shards are held, and the rest
// follow when the device is back.
func TestCompleteLater(t *testing.T) {
	n := newNet(t, 8)
	n.tend()
	n.Next()
	n.devices[7].Stop()
	data := random(41, 9<<20)
	w := n.do("PUT", "/objects?name=test", bytes.NewReader(data))
	var o customer.Object
	if err := json.Unmarshal(w.Body.Bytes(), &o); w.Code != http.StatusCreated || err != nil {
		t.Fatalf("put: %d %s", w.Code, w.Body)
	}
	if o.Shards != 7*3 {
		t.Fatalf("%d shards are said to be held, want 21", o.Shards)
	}
	n.devices[7].Start(provider.New(config()))
	for end := time.Now().Add(time.Minute); n.list()[0].Shards != 8*3; time.Sleep(300 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still %d shards", n.list()[0].Shards)
		}
		n.Next()
	}
	for i := range 4 {
		n.devices[i].Stop()
	}
	n.get(o.ID, data)
}

// list is what the customer says of its objects.
func (n *net) list() (list []customer.Object) {
	n.t.Helper()
	if w := n.do("GET", "/objects", nil); json.Unmarshal(w.Body.Bytes(), &list) != nil || len(list) == 0 {
		n.t.Fatalf("list: %d %s", w.Code, w.Body)
	}
	return list
}
