package customer

import (
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// FuzzRecord: what the door lets in can be read again; and whatever an object's record holds, the books open,
// list it and let it be deleted.
func FuzzRecord(f *testing.F) {
	f.Add("name", "text/plain", []byte("\x87"), uint64(1), uint64(2))
	f.Add("\xff", "", types.Encode(&object{Name: "\xff\xfe", Profile: "lab"}), uint64(0), uint64(1<<63))
	f.Add("a\u202eb", "", types.Encode(&object{Name: "a\x1b", Devices: []types.Key{{1}}}), uint64(0), uint64(0))
	path := filepath.Join(f.TempDir(), "books.db")
	f.Fuzz(func(t *testing.T, name, kind string, raw []byte, created, size uint64) {
		if role.CheckText("name", role.CleanText(name, maxName), maxName) != nil {
			t.Fatalf("cleaned %q to %q", name, role.CleanText(name, maxName))
		}
		log := slog.New(slog.DiscardHandler)
		b, err := openBooks(path, log)
		if err != nil {
			t.Fatal(err)
		}
		b.db.NoSync = true
		in := &object{Name: name, Profile: "lab", Created: created, Bytes: size, Devices: []types.Key{}, Absent: []byte{}, Type: kind}
		fine := role.CheckText("name", name, maxName) == nil && role.CheckText("type", kind, maxType) == nil
		if fine {
			if err := b.putObject(ObjectID{1}, in, nil); err != nil {
				t.Fatal(err)
			}
		}
		err = b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(objectBucket).Put(make([]byte, 16), raw) })
		if err != nil || b.db.Close() != nil {
			t.Fatal(err)
		}
		if b, err = openBooks(path, log); err != nil {
			t.Fatal(err)
		}
		defer b.db.Close()
		b.db.NoSync = true
		seen := map[ObjectID]*object{}
		if err := b.objects(func(id ObjectID, o *object) error { seen[id] = o; return nil }); err != nil {
			t.Fatal(err)
		}
		if _, ok := seen[ObjectID{}]; !ok {
			t.Fatal("the damaged one is not listed")
		}
		if fine && !reflect.DeepEqual(seen[ObjectID{1}], in) {
			t.Fatalf("put %+v, got %+v", in, seen[ObjectID{1}])
		}
		for id := range seen {
			if err := b.deleteObject(id); err != nil {
				t.Fatal(err)
			}
		}
	})
}
