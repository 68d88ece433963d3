package bus_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "rewrite testdata")

const chain = "cairn-test"

func sum(s string) types.Hash { return types.Sum([]byte(s)) }

func set(powers ...uint64) bus.Set {
	var attesters []tally.Attester
	for i, p := range powers {
		attesters = append(attesters, tally.Attester{Key: bustest.Key(i).Public(), Power: p})
	}
	s := bus.SetOf(attesters)
	for i := range s { // ascending by key
		for j := i; j > 0 && bytes.Compare(s[j-1].Key[:], s[j].Key[:]) > 0; j-- {
			s[j-1], s[j] = s[j], s[j-1]
		}
	}
	return s
}

func notice(epoch types.Epoch, height uint64) *bus.Notice {
	return &bus.Notice{
		Chain: chain, Epoch: epoch, Height: height, Hash: sum("block"), Time: 1_800_000_000,
		Blocks: []tally.BlockHash{{Height: height, Hash: sum("block")}}, First: 100, Cut: 119, EpochTime: 1_799_999_997, Seed: sum("seed"), Challenged: true,
		Final:   bus.Root{Epoch: epoch - 2, Header: sum("final"), Devices: merkle.SumLeaf(7, sum("device")), Count: 1},
		Tallied: bus.Root{Epoch: epoch - 1, Header: sum("tallied"), Devices: merkle.SumLeaf(9, sum("device")), Count: 1},
		Totals:  []bus.Totals{{Category: types.Storage, Sums: []uint64{8}}},
		Params:  []tally.Params{{Category: types.Storage}}, Rules: []bus.Rules{{Category: types.Energy, Blob: bus.BlobOf([]byte("rules"))}}, MinOpening: 10_000, Set: set(1, 1, 1, 1),
	}
}

// sealed and plain hold one example of each message.
var key = bustest.Key(0)

var ordered = tally.SessionKey{Payer: key.Public(), ID: types.NewSessionID(9, [12]byte{1})}

// put are three outputs, and the header over them.
func put() (*tally.Header, *tally.Result) {
	r := &tally.Result{}
	for _, data := range []string{"a1", "b", "a2"} {
		r.Outputs = append(r.Outputs, tally.OutputLeaf{Category: types.Energy, Data: []byte(data), Detail: []byte("detail of " + data)})
	}
	return &tally.Header{Chain: chain, Outputs: tally.OutputTree(r.Outputs).Root(), OutCount: uint64(len(r.Outputs))}, r
}

func outputsQuery() *bus.OutputsQuery {
	h, _ := put()
	return &bus.OutputsQuery{Chain: chain, Header: h.Hash(), Category: types.Energy, Prefix: []byte("a"), Of: key.Public()}
}

func outputs() *bus.Outputs {
	h, r := put()
	out := &bus.Outputs{Chain: chain, Header: h.Hash()}
	for _, i := range []int{0, 2} {
		out.Leaves = append(out.Leaves, bus.Output{Index: uint64(i), Data: r.Outputs[i].Data, Detail: r.Outputs[i].Detail, Siblings: r.ProveOutput(i)})
	}
	return out
}

// TestOutputsCheck: what was not asked for, or is not the header's, is refused.
func TestOutputsCheck(t *testing.T) {
	h, r := put()
	if err := outputs().Check(outputsQuery(), h); err != nil {
		t.Fatal(err)
	}
	for what, bend := range map[string]func(*bus.OutputsQuery, *bus.Outputs){
		"of another header": func(_ *bus.OutputsQuery, o *bus.Outputs) { o.Header = sum("other") },
		"of another region": func(_ *bus.OutputsQuery, o *bus.Outputs) { o.Region = 1 },
		"another prefix": func(_ *bus.OutputsQuery, o *bus.Outputs) {
			o.Leaves[1].Index, o.Leaves[1].Data, o.Leaves[1].Siblings = 1, r.Outputs[1].Data, r.ProveOutput(1)
		},
		"a lower index":      func(q *bus.OutputsQuery, _ *bus.Outputs) { q.From = 1 },
		"other data":         func(_ *bus.OutputsQuery, o *bus.Outputs) { o.Leaves[0].Data = []byte("a3") },
		"another index":      func(_ *bus.OutputsQuery, o *bus.Outputs) { o.Leaves[0].Index = 1 },
		"another category":   func(q *bus.OutputsQuery, _ *bus.Outputs) { q.Category = types.Storage },
		"siblings of others": func(_ *bus.OutputsQuery, o *bus.Outputs) { o.Leaves[0].Siblings = o.Leaves[1].Siblings },
	} {
		q, o := outputsQuery(), outputs()
		bend(q, o)
		if err := o.Check(q, h); types.ReasonOf(err) != types.BadClaim {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func messages() map[string][]byte {
	leaf := tally.Leaf{Device: key.Public(), Amount: 7}
	return map[string][]byte{
		"submit":         bus.Encode(&bus.Submit{Chain: chain, Items: []bus.Item{{Type: bus.Evidence, Raw: []byte("e")}, {Type: bus.Ask, Raw: []byte("a")}}}),
		"ack":            bus.Seal(key, &bus.Ack{Chain: chain, Epoch: 3, Accepted: []types.Hash{sum("1")}, Refused: []bus.Refusal{{Item: sum("2"), Reason: types.OverQuota}}}),
		"notice":         bus.Seal(key, notice(3, 107)),
		"payers query":   bus.Encode(&bus.PayersQuery{Chain: chain, Payers: []types.Key{key.Public()}}),
		"payers":         bus.Seal(key, &bus.Payers{Chain: chain, Epoch: 3, Tallied: 2, Lines: []bus.PayerLine{{Key: key.Public(), Limit: 5, Expiry: 9, Spent: 1, Balance: 4}}}),
		"line query":     bus.Encode(&bus.LineQuery{Chain: chain, Device: key.Public(), Tallied: 2}),
		"line":           bus.Seal(key, &bus.Line{Chain: chain, Device: key.Public(), Tallied: 2, Seq: 9, Last: sum("e"), Lines: []bus.CategoryLine{{Category: 3, Blob: bus.BlobOf([]byte("s")), State: []byte("s")}}}),
		"proof query":    bus.Encode(&bus.ProofQuery{Chain: chain, Device: key.Public(), Tallied: true}),
		"proof":          bus.Encode(&bus.Proof{Chain: chain, Epoch: 3, Leaf: leaf}),
		"refusals query": bus.Encode(&bus.RefusalsQuery{Chain: chain, Author: key.Public(), Epoch: 3}),
		"refusals":       bus.Seal(key, &bus.Refusals{Chain: chain, Author: key.Public(), Epoch: 3, Counted: 5, Refused: []bus.Refusal{{Item: sum("2"), Reason: types.OverQuota}}, Quality: []bus.Quality{{Category: 3, Bp: 9_500}}}),
		"held":           bus.Seal(key, &bus.Inventory{Chain: chain, Epoch: 3, Round: 1, Items: bus.BlobOf([]byte("items")), Count: 5}),
		"handover":       bus.Seal(key, &bus.MissingItems{Chain: chain, Epoch: 3, Round: 1, Leader: key.Public(), Missing: bus.BlobOf(nil), Items: bus.BlobOf(nil)}),
		"proposal":       bus.Seal(key, &bus.Proposal{Chain: chain, Epoch: 3, Header: []byte("header"), Frame: bus.BlobOf([]byte("f")), Batch: bus.BlobOf([]byte("b")), Change: bus.BlobOf(nil)}),
		"signature":      bus.Seal(key, bus.SignHeader(key, chain, 3, 0, 1, sum("header"))),
		"state query":    bus.Encode(&bus.StateQuery{Chain: chain, Header: sum("header")}),
		"state at":       bus.Encode(&bus.StateAt{Chain: chain, Header: sum("header"), Pages: bus.BlobOf([]byte("pages"))}),
		"order query":    bus.Encode(&bus.OrderQuery{Chain: chain, Header: sum("header"), Session: ordered}),
		"order at": bus.Seal(key, &bus.OrderAt{Chain: chain, Header: sum("header"), Session: ordered,
			Proof: &tally.RecordProof{Page: []byte("page"), Index: 1, Count: 2, Siblings: []types.Hash{sum("page")}}}),
		"no order":      bus.Seal(key, &bus.OrderAt{Chain: chain, Header: sum("header"), Session: ordered}),
		"outputs query": bus.Encode(outputsQuery()),
		"outputs sum": bus.Seal(key, &bus.OutputsSum{Chain: chain, Header: sum("header"), Category: types.Energy, Prefix: []byte("a"),
			Count: 2, Which: bus.Which([]bus.Leaf{{Index: 0}, {Index: 2, Detail: sum("detail")}})}),
		"outputs":     bus.Seal(key, outputs()),
		"drawn query": bus.Encode(&bus.DrawnQuery{Chain: chain, Epoch: 3, Category: 3, Purpose: "probe/2", Witness: key.Public(), From: 256}),
		"drawn": bus.Seal(key, &bus.Drawn{Query: bus.DrawnQuery{Chain: chain, Epoch: 3, Category: 3, Purpose: "probe/2", Witness: key.Public()},
			Devices: []tally.Device{{Key: key.Public(), Owner: types.Account{1}, Categories: []types.Category{3}, Cell: 0x8a1fb46622dffff, Bond: 5}}, More: true}),
		"panel query": bus.Encode(&bus.PanelQuery{Chain: chain, Epoch: 3, Category: 3, Purpose: "probe/2", Device: key.Public()}),
		"panel": bus.Seal(key, &bus.Panel{Query: bus.PanelQuery{Chain: chain, Epoch: 3, Category: 3, Purpose: "probe/2", Device: key.Public()},
			Drawn: []types.Key{bustest.Key(2).Public(), bustest.Key(1).Public()}}),
		"call": bus.Seal(key, &bus.Call{Chain: chain, Category: 3, Time: 1_800_000_000_000, Body: []byte("now")}),
		"tell": bus.Encode(&bus.Tell{Chain: chain, Category: 3, Body: []byte("see")}),
		"request": bus.Seal(key, &bus.Request{Chain: chain, Device: bustest.Key(1).Public(), Category: 3, Kind: "order", ID: [16]byte{1}, Time: 1_800_000_000_000,
			Wait: 300, Body: []byte("job")}),
		"part":    bus.Seal(key, &bus.Answer{Chain: chain, Request: sum("request"), Body: []byte("step")}),
		"answer":  bus.Seal(key, &bus.Answer{Chain: chain, Request: sum("request"), Part: 1, Last: true, Body: []byte("done")}),
		"refused": bus.Seal(key, &bus.Answer{Chain: chain, Request: sum("request"), Last: true, Reason: types.DeviceBusy}),
		"beat":    bus.Seal(key, &bus.Beat{Chain: chain, Category: 3, Class: 1, Ask: sum("ask"), Free: types.U64(40), Draining: true, Time: 1_800_000_000_000}),

		"piece query": types.Encode(&bus.PieceQuery{Hash: sum("blob"), Offset: bus.PieceSize}),
		"piece":       types.Encode(&bus.Piece{Size: bus.PieceSize + 3, Data: []byte("end")}),

		"find":       types.Encode(&bus.Find{Hash: sum("blob")}),
		"found":      types.Encode(&bus.Found{Holder: key.Public(), Size: 600_000}),
		"chunk":      types.Encode(&bus.Chunk{Hash: sum("blob"), Offset: bus.ChunkSize}),
		"keep query": types.Encode(&bus.KeepQuery{Pattern: "last.ask.>", After: "last.ask.a.3.1"}),
		"keep page":  types.Encode(&bus.KeepPage{Kept: []bus.Kept{{Subject: "last.ask.b.3.1", Data: []byte("ask")}}, More: true}),
	}
}

// open decodes a message of that name.
func open(name string, raw []byte, chain string) (any, error) {
	switch name {
	case "submit":
		return bus.Decode[bus.Submit](raw, chain)
	case "ack":
		v, _, err := bus.Open[bus.Ack](raw, chain)
		return v, err
	case "notice":
		v, _, err := bus.Open[bus.Notice](raw, chain)
		return v, err
	case "payers query":
		return bus.Decode[bus.PayersQuery](raw, chain)
	case "payers":
		v, _, err := bus.Open[bus.Payers](raw, chain)
		return v, err
	case "line query":
		return bus.Decode[bus.LineQuery](raw, chain)
	case "line":
		v, _, err := bus.Open[bus.Line](raw, chain)
		return v, err
	case "proof query":
		return bus.Decode[bus.ProofQuery](raw, chain)
	case "proof":
		return bus.Decode[bus.Proof](raw, chain)
	case "refusals query":
		return bus.Decode[bus.RefusalsQuery](raw, chain)
	case "refusals":
		v, _, err := bus.Open[bus.Refusals](raw, chain)
		return v, err
	case "held":
		v, _, err := bus.Open[bus.Inventory](raw, chain)
		return v, err
	case "handover":
		v, _, err := bus.Open[bus.MissingItems](raw, chain)
		return v, err
	case "proposal":
		v, _, err := bus.Open[bus.Proposal](raw, chain)
		return v, err
	case "signature":
		v, _, err := bus.Open[bus.HeaderSignature](raw, chain)
		return v, err
	case "state query":
		return bus.Decode[bus.StateQuery](raw, chain)
	case "state at":
		return bus.Decode[bus.StateAt](raw, chain)
	case "order query":
		return bus.Decode[bus.OrderQuery](raw, chain)
	case "order at", "no order":
		v, _, err := bus.Open[bus.OrderAt](raw, chain)
		return v, err
	case "outputs query":
		return bus.Decode[bus.OutputsQuery](raw, chain)
	case "outputs sum":
		v, _, err := bus.Open[bus.OutputsSum](raw, chain)
		return v, err
	case "outputs":
		v, _, err := bus.Open[bus.Outputs](raw, chain)
		return v, err
	case "drawn query":
		return bus.Decode[bus.DrawnQuery](raw, chain)
	case "drawn":
		v, _, err := bus.Open[bus.Drawn](raw, chain)
		return v, err
	case "panel query":
		return bus.Decode[bus.PanelQuery](raw, chain)
	case "panel":
		v, _, err := bus.Open[bus.Panel](raw, chain)
		return v, err
	case "call":
		v, _, err := bus.Open[bus.Call](raw, chain)
		return v, err
	case "tell":
		return bus.Decode[bus.Tell](raw, chain)
	case "request":
		v, err := bus.ReadRequest(raw, chain)
		if err != nil {
			return nil, err
		}
		if !v.Verify() {
			return nil, types.BadSignature
		}
		return v.Request, nil
	case "beat":
		v, _, err := bus.Open[bus.Beat](raw, chain)
		return v, err
	case "part", "answer", "refused":
		v, _, err := bus.Open[bus.Answer](raw, chain)
		return v, err
	}
	panic("no message " + name)
}

var names = []string{"submit", "ack", "notice", "payers query", "payers", "line query", "line", "proof query", "proof", "refusals query", "refusals", "held", "handover", "proposal", "signature", "state query", "state at",
	"order query", "order at", "no order", "outputs query", "outputs sum", "outputs", "drawn query", "drawn", "panel query", "panel", "call", "tell", "request", "part", "answer", "refused", "beat"}

// bare are the messages that name no chain: what they carry is held against a hash, or proves itself.
var bare = []string{"find", "found", "chunk", "keep query", "keep page", "piece query", "piece"}

func TestGolden(t *testing.T) {
	var b strings.Builder
	for _, name := range slices.Concat(names, bare) {
		fmt.Fprintf(&b, "%s\n%x\n\n", name, messages()[name])
	}
	path := filepath.Join("testdata", "messages.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the bytes of messages changed:\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, name := range names {
		raw := messages()[name]
		if _, err := open(name, raw, chain); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := open(name, raw, "other"); types.ReasonOf(err) != types.WrongChain {
			t.Errorf("%s of another chain: %v", name, err)
		}
		if _, err := open(name, append(bytes.Clone(raw), 0), chain); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("%s with a trailing byte: %v", name, err)
		}
		for cut := range raw {
			if _, err := open(name, raw[:cut], chain); err == nil {
				t.Errorf("%s cut at %d is taken", name, cut)
			}
		}
	}
	// A signature of one kind is none of another.
	ack := &bus.Ack{Chain: chain, Epoch: 3}
	var sealed bus.Sealed
	if err := types.Decode(bus.Seal(key, ack), &sealed); err != nil {
		t.Fatal(err)
	}
	sealed.Signature = key.Sign("notice", chain, sealed.Body)
	if _, _, err := bus.Open[bus.Ack](types.Encode(&sealed), chain); types.ReasonOf(err) != types.BadSignature {
		t.Errorf("an ack signed as a notice: %v", err)
	}
	sealed.Signature, sealed.Signer = key.Sign("ack", chain, sealed.Body), bustest.Key(1).Public()
	if _, _, err := bus.Open[bus.Ack](types.Encode(&sealed), chain); types.ReasonOf(err) != types.BadSignature {
		t.Errorf("an ack under another's name: %v", err)
	}
}

func TestBounds(t *testing.T) {
	many := func(n, size int) []bus.Item {
		items := make([]bus.Item, n)
		for i := range items {
			items[i] = bus.Item{Type: bus.Evidence, Raw: make([]byte, size)}
		}
		return items
	}
	unsorted := set(1, 2)
	unsorted[0], unsorted[1] = unsorted[1], unsorted[0]
	withSet := func(s bus.Set) *bus.Notice {
		n := notice(3, 107)
		n.Set = s
		return n
	}
	ruled := func(change func(*bus.Notice)) []byte {
		n := notice(3, 107)
		change(n)
		return bus.Seal(key, n)
	}
	for _, c := range []struct {
		what   string
		name   string
		raw    []byte
		reason types.Reason
	}{
		{"no items", "submit", bus.Encode(&bus.Submit{Chain: chain}), types.Oversize},
		{"too many items", "submit", bus.Encode(&bus.Submit{Chain: chain, Items: many(bus.MaxItems+1, 1)}), types.Oversize},
		{"as many as fit", "submit", bus.Encode(&bus.Submit{Chain: chain, Items: many(bus.MaxItems, bus.MaxSubmitBytes/bus.MaxItems)}), ""},
		{"too many bytes", "submit", bus.Encode(&bus.Submit{Chain: chain, Items: many(16, 64<<10)}), types.Oversize},
		{"a long item", "submit", bus.Encode(&bus.Submit{Chain: chain, Items: many(1, 66<<10)}), types.Oversize},
		{"an empty item", "submit", bus.Encode(&bus.Submit{Chain: chain, Items: many(1, 0)}), types.Oversize},
		{"a strange item", "submit", bus.Encode(&bus.Submit{Chain: chain, Items: []bus.Item{{Type: 9, Raw: []byte{1}}}}), types.BadEncoding},
		{"no reason", "ack", bus.Seal(key, &bus.Ack{Chain: chain, Refused: []bus.Refusal{{}}}), types.BadEncoding},
		{"too many refusals", "ack", bus.Seal(key, &bus.Ack{Chain: chain, Refused: make([]bus.Refusal, bus.MaxItems+1)}), types.Oversize},
		{"no payers", "payers query", bus.Encode(&bus.PayersQuery{Chain: chain}), types.Oversize},
		{"a payer twice", "payers query", bus.Encode(&bus.PayersQuery{Chain: chain, Payers: make([]types.Key, 2)}), types.BadEncoding},
		{"too many blocks", "notice", bus.Seal(key, &bus.Notice{Chain: chain, Blocks: make([]tally.BlockHash, bus.MaxBlocks+1)}), types.Oversize},
		{"too many verifiers", "notice", bus.Seal(key, withSet(make(bus.Set, bus.MaxMembers+1))), types.Oversize},
		{"verifiers out of order", "notice", bus.Seal(key, withSet(unsorted)), types.BadEncoding},
		{"power beyond 64 bits", "notice", bus.Seal(key, withSet(set(math.MaxUint64, 1))), types.BadEncoding},
		{"rules in the parameters", "notice", ruled(func(n *bus.Notice) { n.Params[0].Rules = []byte{1} }), types.BadEncoding},
		{"rules twice", "notice", ruled(func(n *bus.Notice) { n.Rules = append(n.Rules, n.Rules[0]) }), types.BadEncoding},
		{"rules of nothing", "notice", ruled(func(n *bus.Notice) { n.Rules[0].Blob.Size = 0 }), types.Oversize},
		{"long rules", "notice", ruled(func(n *bus.Notice) { n.Rules[0].Blob.Size = tally.MaxRules + 1 }), types.Oversize},
		{"as long as rules may be", "notice", ruled(func(n *bus.Notice) { n.Rules[0].Blob.Size = tally.MaxRules }), ""},
		{"rules of too many", "notice", ruled(func(n *bus.Notice) { n.Rules = make([]bus.Rules, bus.MaxCategories+1) }), types.Oversize},
		{"a long prefix", "outputs query", bus.Encode(&bus.OutputsQuery{Chain: chain, Prefix: make([]byte, bus.MaxPrefix+1)}), types.Oversize},
		{"the purpose of a draw", "drawn query", bus.Encode(&bus.DrawnQuery{Chain: chain, Purpose: strings.Repeat("p", bus.MaxPurpose+1)}), types.Oversize},
		{"the purpose of a panel", "panel query", bus.Encode(&bus.PanelQuery{Chain: chain, Purpose: strings.Repeat("p", bus.MaxPurpose+1)}), types.Oversize},
		{"the witnesses of a panel", "panel", bus.Seal(key, &bus.Panel{Query: bus.PanelQuery{Chain: chain}, Drawn: make([]types.Key, tally.MaxSeats+1)}), types.Oversize},
		{"a tale", "tell", bus.Encode(&bus.Tell{Chain: chain, Body: make([]byte, bus.MaxTell+1)}), types.Oversize},
		{"a call", "call", bus.Seal(key, &bus.Call{Chain: chain, Body: make([]byte, bus.MaxCall+1)}), types.Oversize},
		{"the devices of a draw", "drawn", bus.Seal(key, &bus.Drawn{Query: bus.DrawnQuery{Chain: chain}, Devices: make([]tally.Device, bus.MaxDrawn+1)}), types.Oversize},
		{"the prefix of a sum", "outputs sum", bus.Seal(key, &bus.OutputsSum{Chain: chain, Prefix: make([]byte, bus.MaxPrefix+1)}), types.Oversize},
		{"too many outputs", "outputs", bus.Seal(key, &bus.Outputs{Chain: chain, Leaves: make([]bus.Output, bus.MaxLeaves+1)}), types.Oversize},
		{"an output twice", "outputs", bus.Seal(key, &bus.Outputs{Chain: chain, Leaves: make([]bus.Output, 2)}), types.BadEncoding},
		{"a long output", "outputs", bus.Seal(key, &bus.Outputs{Chain: chain, Leaves: []bus.Output{{Data: make([]byte, tally.MaxOutput+1)}}}), types.Oversize},
		{"a long detail", "outputs", bus.Seal(key, &bus.Outputs{Chain: chain, Leaves: []bus.Output{{Detail: make([]byte, tally.MaxOutput+1)}}}), types.Oversize},
		{"a deep tree", "outputs", bus.Seal(key, &bus.Outputs{Chain: chain, Leaves: []bus.Output{{Siblings: make([]types.Hash, 65)}}}), types.Oversize},
		{"a long page", "order at", bus.Seal(key, &bus.OrderAt{Chain: chain, Proof: &tally.RecordProof{Page: make([]byte, tally.MaxRecordProof+1)}}), types.Oversize},
		{"a request of no kind", "request", bus.Seal(key, &bus.Request{Chain: chain, Wait: 1}), types.BadEncoding},
		{"a request of a strange kind", "request", bus.Seal(key, &bus.Request{Chain: chain, Kind: "a.b", Wait: 1}), types.BadEncoding},
		{"a request that does not wait", "request", bus.Seal(key, &bus.Request{Chain: chain, Kind: "a"}), types.BadEncoding},
		{"a request that waits long", "request", bus.Seal(key, &bus.Request{Chain: chain, Kind: "a", Wait: bus.MaxWait + 1}), types.BadEncoding},
		{"a long request", "request", bus.Seal(key, &bus.Request{Chain: chain, Kind: "a", Wait: 1, Body: make([]byte, bus.MaxAsked+1)}), types.Oversize},
		{"a long answer", "answer", bus.Seal(key, &bus.Answer{Chain: chain, Last: true, Body: make([]byte, bus.MaxAsked+1)}), types.Oversize},
		{"a reason of a part", "answer", bus.Seal(key, &bus.Answer{Chain: chain, Reason: "busy"}), types.BadEncoding},
		{"a reason that is none", "answer", bus.Seal(key, &bus.Answer{Chain: chain, Last: true, Reason: "No\x1b!"}), types.BadEncoding},
		{"no header", "proposal", bus.Seal(key, &bus.Proposal{Chain: chain}), types.Oversize},
	} {
		if _, err := open(c.name, c.raw, chain); types.ReasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
			t.Errorf("%s: %v, want %q", c.what, err, c.reason)
		}
	}
}

// FuzzOpen feeds every decoder: none may panic, and what one accepts encodes to the same bytes.
func FuzzOpen(f *testing.F) {
	for i, name := range names {
		f.Add(uint8(i), messages()[name])
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		v, err := open(names[int(which)%len(names)], raw, chain)
		if err != nil {
			return
		}
		var sealed bus.Sealed
		again := types.Encode(v)
		if types.DecodeLimit(raw, &sealed, bus.MaxMessage) == nil {
			raw = sealed.Body
		}
		if !bytes.Equal(again, raw) {
			t.Fatalf("%x decodes to %+v, which encodes as %x", raw, v, again)
		}
	})
}

func FuzzLists(f *testing.F) {
	f.Add(bus.Items([]bus.Item{{Type: bus.Receipt, Raw: []byte("r")}, {Type: bus.Order, Raw: make([]byte, 300)}}))
	f.Add(bus.Hashes([]types.Hash{sum("a"), sum("b")}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if items, err := bus.ParseItems(raw); err == nil && !bytes.Equal(bus.Items(items), raw) {
			t.Fatalf("items: %x", raw)
		}
		if hashes, err := bus.ParseHashes(raw); err == nil && !bytes.Equal(bus.Hashes(hashes), raw) {
			t.Fatalf("hashes: %x", raw)
		}
	})
}

func TestSubjects(t *testing.T) {
	k := bustest.Key(1).Public()
	word := bus.Word(k)
	if back, err := bus.ParseWord(word); err != nil || back != k || !strings.HasPrefix(word, "z6Mk") {
		t.Errorf("%s reads as %v, %v", word, back, err)
	}
	for _, subject := range []string{
		bus.SubmitSubject(k, 65535), bus.AckSubject(k, k), bus.QuerySubject(k, 0, bus.QueryRefusals), bus.FindSubject(k),
		bus.ChunkSubject(k, k), bus.AskOf(&receipt.Ask{Device: k, Category: 3, Class: 1}), bus.ReceiptSubject(k, k, types.SessionID{1}),
		bus.NoticeSubject(k, 0), bus.InventorySubject(k, 0), bus.MissingSubject(k, 0), bus.ProposalSubject(k, 0), bus.SignatureSubject(k, 0), bus.KeepSubject(k), bus.RequestSubject(k, k),
		bus.BeatOf(&receipt.Ask{Device: k, Category: 3, Class: 1}),
	} {
		if !bus.ValidSubject(subject) || bus.Owner(subject) != word {
			t.Errorf("%s is owned by %s", subject, bus.Owner(subject))
		}
	}
	if hex.EncodeToString(k[:]) == word {
		t.Error("a key is not written in hexadecimal")
	}
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a.*", "a.b", true}, {"a.*", "a.b.c", false}, {"a.*", "a", false},
		{"a.>", "a.b.c", true}, {"a.>", "a", false}, {">", "a", true}, {"*.b", "a.b", true}, {"a.b.c", "a.b", false}, {"*.*", "a.b", true},
	} {
		if got := bus.Match(c.pattern, c.subject); got != c.want {
			t.Errorf("%s fits %s: %v", c.subject, c.pattern, got)
		}
	}
}

// TestOnlyDefinedSubjectsArePublished: whatever anybody may keep on the bus has a message that is defined for it.
func TestOnlyDefinedSubjectsArePublished(t *testing.T) {
	k := bustest.Key(1).Public()
	defined := map[string]bool{}
	for _, subject := range []string{
		bus.AskOf(&receipt.Ask{Device: k, Category: 3, Class: 1}), bus.ReceiptSubject(k, k, types.SessionID{1}), bus.NoticeSubject(k, 0), bus.InventorySubject(k, 0),
		bus.MissingSubject(k, 0), bus.ProposalSubject(k, 0), bus.SignatureSubject(k, 0),
	} {
		defined[strings.Join(strings.Split(subject, ".")[:2], ".")] = true
	}
	for _, role := range []bus.Role{bus.RoleDevice, bus.RolePayer, bus.RoleGateway, bus.RoleVerifier} {
		for _, pattern := range bus.Publishes(role, k) {
			if words := strings.Split(pattern, "."); words[0] == bus.Last && !defined[words[0]+"."+words[1]] {
				t.Errorf("%v may publish %s, which means nothing", role, pattern)
			}
		}
	}
}
