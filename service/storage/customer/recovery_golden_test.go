package customer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// recoveryGolden is a record and the file that it is sealed in, with all that opens them. Its object is the one
// of pipeline's golden file, whose shards are there.
type recoveryGolden struct {
	Secret  string       `json:"secret"`  // that the file is sealed with, in hexadecimal
	Record  string       `json:"record"`  // in hexadecimal
	Content string       `json:"content"` // what the object holds, in hexadecimal
	File    recoveryFile `json:"file"`
}

// kept are shards by their names.
type kept map[types.Hash][]byte

func (k kept) Order(int, pipeline.Segment) []int { return nil }

func (k kept) Shard(_ context.Context, _ int, seg pipeline.Segment, slot int, into *pipeline.Incoming) error {
	_, err := into.Write(k[seg.Shards[slot]])
	return err
}

func (k kept) Slice(_ context.Context, _ int, seg pipeline.Segment, slot, offset, length int) ([]byte, error) {
	return storage.ExtractSlice(k[seg.Shards[slot]], offset, length)
}

// TestRecoveryGolden pins the format of what an account takes along: what was saved years ago must still be read.
func TestRecoveryGolden(t *testing.T) {
	content := make([]byte, 5000)
	rand.NewChaCha8([32]byte{136, 19}).Read(content)
	account, id := types.Account{0xa}, ObjectID{0xb}
	secret, key, shards := pipeline.Secret{7}, pipeline.Secret{7}.Bucket("photos"), kept{}
	coder := pipeline.New(pipeline.Config{InFlight: 1, Rand: rand.NewChaCha8([32]byte{42})}, secret.Mask())
	emit := func(_ context.Context, _ int, seg pipeline.Segment, list [][]byte) error {
		for i, shard := range list {
			shards[seg.Shards[i]] = bytes.Clone(shard)
		}
		return nil
	}
	m, err := coder.Encode(t.Context(), bytes.NewReader(content), pipeline.Lab, key, emit)
	if err != nil {
		t.Fatal(err)
	}
	rec := record{
		Format: recordFormat, Account: account, ID: id, Type: "text/plain", Key: key, Mask: secret.Mask(), Manifest: m.Encode(),
		Object: object{Name: "kept.txt", Profile: "lab", Created: 1_700_000_000, Bytes: m.Size, Payer: types.Key{0xc}, Absent: []byte{0x80}},
	}
	for i := range 8 {
		rec.Object.Devices = append(rec.Object.Devices, types.Key{0xd, byte(i)})
	}
	raw := types.Encode(&rec)
	seal, err := recoverySeal([32]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	have := recoveryGolden{
		Secret: hex.EncodeToString(bytes.Join([][]byte{{9}, make([]byte, 31)}, nil)), Record: hex.EncodeToString(raw), Content: hex.EncodeToString(content),
		File: recoveryFile{Format: recoveryFormat, Chain: "cairn-test-1", Account: account, Objects: []sealedRecord{sealRecord(seal, []byte("twelve bytes"), id.String(), raw)}},
	}
	text, err := json.MarshalIndent(&have, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const path = "testdata/recovery.json"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)+"\n"); diff != "" {
		t.Errorf("the format changed (UPDATE_GOLDEN=1 rewrites it):\n%s", diff)
	}

	// What the file holds brings the object back.
	var old recoveryGolden
	if err := json.Unmarshal(want, &old); err != nil {
		t.Fatal(err)
	}
	opened, err := old.File.Objects[0].open(seal)
	if err != nil || hex.EncodeToString(opened) != old.Record {
		t.Fatalf("the sealed record: %v", err)
	}
	back, manifest, err := readRecord(opened, account, id.String())
	if err != nil || back.Object.Name != "kept.txt" || back.Type != "text/plain" {
		t.Fatalf("%+v: %v", back, err)
	}
	var out bytes.Buffer
	reader := pipeline.New(pipeline.Config{InFlight: 1}, back.Mask)
	if err := reader.Decode(t.Context(), manifest, back.Key, &out, shards); err != nil || hex.EncodeToString(out.Bytes()) != old.Content {
		t.Errorf("%d bytes come back: %v", out.Len(), err)
	}
	old.File.Objects[0].ID = ObjectID{0xe}.String()
	if _, err := old.File.Objects[0].open(seal); types.ReasonOf(err) != types.BadSignature {
		t.Errorf("a record under another's id: %v", err)
	}
}
