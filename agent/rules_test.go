package agent

import (
	"bytes"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// counted is a store that counts how often it is read.
type counted struct {
	forgetful
	value []byte
	read  int
}

func (s *counted) Get(string) []byte { s.read++; return s.value }

// TestRulesRead: rules are read and hashed when they change, not at each notice.
func TestRulesRead(t *testing.T) {
	store := &counted{value: []byte("at most one")}
	a, err := New(Config{Pin: bus.Pin{Chain: "test", Set: bus.Set{{Key: types.Key{1}, Power: 1}}}, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	store.read = 0
	ask := func() {
		t.Helper()
		n := &bus.Notice{Rules: []bus.Rules{{Category: types.Storage, Blob: bus.BlobOf(store.value)}}}
		if got, err := a.Rules(t.Context(), n, types.Storage); err != nil || !bytes.Equal(got, store.value) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	for range 20 {
		ask()
	}
	store.value = []byte("at most two")
	for range 20 {
		ask()
	}
	if store.read != 2 {
		t.Errorf("read %d times, want 2", store.read)
	}
}
