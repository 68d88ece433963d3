package storage

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// golden is one of everything that has bytes: enough to write another implementation against.
type golden struct {
	About     string
	Device    types.Key
	Payer     types.Key
	Seed      types.Hash
	Challenge types.Hash
	Positions []uint64 // of the challenge, among 30,000 bytes
	Shards    []goldenShard
	Root      types.Hash // of the sum tree over Shards
	Payload   string     // what payer and device sign of the holding
	Holding   string     // bodies, in hexadecimal
	Answer    types.Hash // SHA-256 of the body: it is long
	Proof     string     // of the answer's first position
	Loss      string
	Release   string
	Terms     string
	Ladder    types.Hash // SHA-256
	State     string     // after the answer's epoch
}

type goldenShard struct {
	ID    types.Hash
	Bytes uint64
}

func makeGolden(t *testing.T) *golden {
	w := newWorld(t)
	d, c := w.device("golden device"), w.customer("golden customer")
	x := c.deal(d, "golden session")
	opening := x.put(10, 3000)
	g := &golden{
		About:  "chain cairn-test-1; session keys and devices are the Ed25519 keys of SHA-256(\"golden customer\"), SHA-256(\"golden device\")",
		Device: d.key.Public(), Payer: c.key.Public(), Payload: hex.EncodeToString(x.holding.Payload()),
		Holding: hex.EncodeToString(d.evidence[opening].Body), Root: x.holding.Root,
		Release: hex.EncodeToString((&Release{Session: x.holding.Session}).Encode()),
		Terms:   hex.EncodeToString((&Terms{Address: "storage.example.org:7070", Unpaid: 4 << 20}).Encode()),
	}
	for _, s := range x.list.All() {
		g.Shards = append(g.Shards, goldenShard{s.ID, s.Bytes})
	}
	w.run(d)
	g.Seed = w.seed()
	g.Challenge = Challenge(g.Seed, g.Device)
	for j := range uint32(MaxDraws) {
		g.Positions = append(g.Positions, Position(g.Challenge, j, heldBytes))
	}
	answer := d.prove()
	g.Answer = types.Sum(answer.Encode())
	g.Proof = hex.EncodeToString(types.Encode(answer[0]))
	l, err := NewLoss(x.holding.Session, d.shards[x.holding.Session], []int{7})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.shards[x.holding.Session].Undo(); err != nil {
		t.Fatal(err)
	}
	g.Loss = hex.EncodeToString(l.Encode())
	g.Ladder = types.Sum(ladder(t, 1000, 100).Encode())
	at := x.pay(u(26250))
	out := w.run(d)
	w.want(out, 0, "")
	w.wantPaid(out, at, "")
	g.State = hex.EncodeToString(out.State)
	return g
}

// TestGolden holds every byte format and draw against committed ones. They change only with the protocol.
func TestGolden(t *testing.T) {
	got := makeGolden(t)
	const file = "testdata/golden.json"
	if *update {
		seedCorpus(t)
		raw, err := json.MarshalIndent(got, "", "\t")
		if err == nil {
			err = os.WriteFile(file, append(raw, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := new(golden)
	if err := json.Unmarshal(raw, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
