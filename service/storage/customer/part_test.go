package customer

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestParts: what a process that died had devices hold for an object that never came to be is dropped by the
// next one, and nothing else is.
func TestParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books.db")
	b, err := openBooks(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	payer, device, other := types.Key{1}, types.Key{2}, types.Key{3}
	done, lost, given, filled := ObjectID{1}, ObjectID{2}, ObjectID{3}, ObjectID{4}
	note := func(id ObjectID, at uint64, device types.Key, shards ...types.Hash) {
		t.Helper()
		if err := b.noteParts(id, at, []part{{Payer: payer, Device: device, Shards: shards}}); err != nil {
			t.Fatal(err)
		}
	}
	queued := func(device types.Key, want ...types.Hash) {
		t.Helper()
		got, err := b.toDrop(payer, device, 100)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("to drop from %v: %v %v, want %v", device, got, err, want)
		}
	}
	object := func(id ObjectID, devices ...types.Key) {
		t.Helper()
		if err := b.putObject(id, &object{Payer: payer, Devices: devices}, nil); err != nil {
			t.Fatal(err)
		}
	}
	note(done, 0, device, types.Hash{10})
	note(done, 1, device, types.Hash{11})
	object(done, device)
	note(lost, 0, device, types.Hash{20}, types.Hash{21})
	note(lost, 1, device, types.Hash{22})
	note(given, 0, device, types.Hash{30})
	if err := b.forgetParts(given); err != nil {
		t.Fatal(err)
	}
	object(filled, device)
	note(filled, 0, device, types.Hash{40}) // a shard that was missing there
	note(filled, 1, other, types.Hash{41})  // a slot that was to move
	queued(device)
	for range 2 {
		if err := b.db.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err = openBooks(path, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		queued(device, types.Hash{20}, types.Hash{21}, types.Hash{22})
		queued(other, types.Hash{41})
	}
	// It is tried again, and held this time.
	note(filled, 0, other, types.Hash{41})
	queued(other)
	if err := b.db.Close(); err != nil {
		t.Fatal(err)
	}
}
