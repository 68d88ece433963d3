package compute

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

const testChain = "cairn-test-1"

// key is a private key that a test can name.
func key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// golden is one of everything that has bytes: enough to write another implementation against.
type golden struct {
	About                                  string
	Job, Result, Leaf, SignedLeaf          string // in hexadecimal, as all that is text here
	JobHash, ResultHash, NoFiles, Files    types.Hash
	Terms, Order, Call, Accepted, Refused  string
	OpenTerms                              string
	Ended, NotRun                          string
	Offer, Results, Check, Sighting        string
	Path                                   string // of the results' second leaf
	Seed, ChainSeed, NextSeed, Openings    types.Hash
	Step                                   string
	Fired, Summons, Begun, Progress        string
	RowsQuery, ShownRows                   string
	Show, Shown, List                      string
	Audit, Withheld                        string
	RowFault, StepFault, StartFault, Clash string
	Rules, State                           string
	Drawn                                  []bool // of leaves 0 to 15 at 2,000 basis points
}

func hexa(b []byte) string { return hex.EncodeToString(b) }

func testJob() *Job {
	return &Job{
		Profile: WasmProfile, Code: types.Sum([]byte("module")), Args: []string{"sort", "-r"}, Env: []string{"LANG=C"}, Stdin: types.Sum([]byte("b\na\n")),
		Input: Files{}.Root(), Limit: 5_000_000_000, Pages: 256,
	}
}

func testResult() *Result {
	return &Result{Stdout: types.Sum([]byte("b\na\n")), Stderr: types.Sum(nil), Output: Files{}.Root(), Fuel: 123_456}
}

func testLeaves(n int) []Leaf {
	session := types.NewSessionID(5000, [12]byte{7})
	leaves := make([]Leaf, n)
	for i := range leaves {
		leaves[i] = Leaf{Session: session, Index: uint64(i), Job: testJob().Hash(), Result: testResult().Hash(), Fuel: 123_456, Mode: Public}
	}
	return leaves
}

func makeGolden(t *testing.T) *golden {
	device, payer, witness := key("golden device"), key("golden customer"), key("golden witness")
	j, r := testJob(), testResult()
	leaves := testLeaves(3)
	leaves[2] = Leaf{Session: leaves[0].Session, Index: 2, Job: j.Hash(), Fuel: 1000, Mode: Cut}
	signed := &SignedLeaf{Epoch: 10, Leaf: leaves[0]}
	signed.Signature = device.Sign(DomainLeaf, testChain, signed.Payload())
	terms := &Terms{Address: "compute.example.org:7070", Profiles: []Profile{{Name: WasmProfile}}, Session: leaves[0].Session}
	ask := receipt.Ask{Chain: testChain, Device: device.Public(), Category: types.Compute, Class: Wasm, Price: 900, Terms: terms.Encode(), Until: 20}
	order := &SignedOrder{Order: Order{
		Device: device.Public(), Payer: payer.Public(), Session: leaves[0].Session, Job: j.Hash(), Class: Wasm, Slots: 1, Price: 700, Ceiling: 900, Deadline: 1_800_000_000_000,
		Mode: Public, Gateway: "gateway.example.org:7071", Link: key("golden gateway").Public(),
	}}
	order.Signature = payer.Sign(DomainOrder, testChain, order.Order.Payload())
	call := &Call{Order: *order, Job: *j, Inputs: []Input{
		{Hash: j.Stdin, Size: 4, Data: []byte("b\na\n")}, {Hash: j.Code, Size: 5_000_000, Data: []byte{}},
	}}
	slices.SortFunc(call.Inputs, func(a, b Input) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	tree, err := NewTree(leaves)
	if err != nil {
		t.Fatal(err)
	}
	results := tree.Results(1000)
	path := tree.Prove(1)
	if before, err := results.Verify(&leaves[1], &path); err != nil || before != 1000+123_456 {
		t.Fatal(before, err)
	}
	nonce := &Nonce{Epoch: 10, Device: device.Public(), Slot: 180_000_000, Nonce: types.Sum([]byte("nonce"))}
	nonces := []SignedNonce{nonce.Sign(testChain, witness)}
	seed := types.Sum([]byte("seed"))
	proof, _ := ProveSlot(key("golden caller"), testChain, seed, nonce.Slot, 2160)
	step := Step{Epoch: 10, Slot: nonce.Slot, Seed: ChainSeed(Seed(nonce.Device, nonce.Slot, nonces), 0), Root: types.Sum([]byte("root"))}
	other := step
	other.Root = types.Sum([]byte("another root"))
	check := &Check{Slot: nonce.Slot, Proof: proof, Round: CPU, N: 2, Nonces: nonces, Steps: 17, Root: merkle.Root([]types.Hash{step.Root})}
	openings := Openings{{Chain: 0, T: 3, Rows: []uint32{}}}
	envelope := []byte("an envelope")
	place := merkle.Prove([]types.Hash{types.Sum(envelope)}, 0)
	audit := &Audit{Device: nonce.Device, Results: envelope, Place: place, Index: 1, Leaf: &leaves[1], Path: &path, Result: r.Hash(), Fuel: r.Fuel}
	signedStep := step.Sign(testChain, device)
	list := Files{{Path: "a", Size: 1, Hash: types.Sum([]byte("x"))}, {Path: "b/c", Size: 0, Hash: types.Sum(nil)}}
	g := &golden{
		About: "chain cairn-test-1; keys are the Ed25519 keys of SHA-256(\"golden device\") and so on; envelopes in audits and faults stand for real ones",
		Job:   hexa(j.Encode()), Result: hexa(r.Encode()), Leaf: hexa(types.Encode(&leaves[0])), SignedLeaf: hexa(signed.Encode()),
		JobHash: j.Hash(), ResultHash: r.Hash(), NoFiles: Files{}.Root(),
		Files: list.Root(),
		Terms: hexa(terms.Encode()), Order: hexa(order.Encode()), Call: hexa(call.Encode()),
		OpenTerms: hexa((&Terms{Profiles: []Profile{{Name: OCIProfile}}, Egress: []string{"*.example.org:443", "192.0.2.0/24:*", "[2001:db8::1]:80"}}).Encode()),
		Ended:     hexa((&Ended{Result: r, Leaf: signed}).Encode()), NotRun: hexa((&Ended{Reason: BadModule, Message: "at byte 7"}).Encode()),
		Accepted: hexa((&Answer{Order: order.Order.Hash(), Ask: ask.Sign(device).Encode()}).Encode()),
		Refused:  hexa((&Answer{Order: order.Order.Hash(), Reason: Busy}).Encode()),
		Offer:    hexa((&Offer{Free: 4}).Encode()), Results: hexa(results.Encode()), Check: hexa(check.Encode()),
		Sighting: hexa((&Sighting{Device: nonce.Device, Slot: nonce.Slot, Count: 17, OK: true, Opening: openings.Hash()}).Encode()),
		Path:     hexa(types.Encode(&path)),
		Seed:     Seed(nonce.Device, nonce.Slot, nonces), ChainSeed: step.Seed, NextSeed: step.Next(), Openings: openings.Hash(), Step: hexa(types.Encode(&signedStep)),
		Fired:      hexa((&Fired{Epoch: 10, Slot: nonce.Slot, Proof: proof}).Encode()),
		Summons:    hexa((&Summons{Fired: Fired{Epoch: 10, Slot: nonce.Slot, Proof: proof}, Round: MAC, N: 512, Slots: 1, Nonce: nonces[0]}).Encode()),
		Begun:      hexa((&Progress{Nonces: nonces, Steps: []SignedStep{}}).Encode()),
		Progress:   hexa((&Progress{Nonces: []SignedNonce{}, Steps: []SignedStep{signedStep}}).Encode()),
		RowsQuery:  hexa((&RowsQuery{Slot: nonce.Slot, Openings: openings}).Encode()),
		ShownRows:  hexa(ShownRows{{Row: []byte("row"), Path: merkle.Proof{Index: 1, Count: 2, Siblings: []types.Hash{step.Root}}}}.Encode()),
		Show:       hexa((&Show{Epoch: 12, Results: envelope, Index: 1}).Encode()),
		Shown:      hexa((&Shown{Leaf: leaves[1], Path: path, Files: types.Sum(list.Encode())}).Encode()),
		List:       hexa(list.Encode()),
		Audit:      hexa(audit.Encode()),
		Withheld:   hexa((&Audit{Device: nonce.Device, Results: envelope, Place: place, Index: 1, Withheld: true}).Encode()),
		RowFault:   hexa((&Fault{Device: nonce.Device, Row: &RowFault{Step: signedStep, N: 512, Row: make([]byte, 8), Path: place}}).Encode()),
		StepFault:  hexa((&Fault{Device: nonce.Device, Step: &StepFault{First: &signedStep, Second: other.Sign(testChain, device)}}).Encode()),
		StartFault: hexa((&Fault{Device: nonce.Device, Step: &StepFault{Check: envelope, Second: signedStep}}).Encode()),
		Clash: hexa((&Fault{Device: nonce.Device, Conflict: &Conflict{
			A: Claim{Signed: signed}, B: Claim{Committed: &Committed{Results: envelope, Leaf: leaves[1], Path: path}}}}).Encode()),
		Rules: hexa((&Rules{Rarity: 2160, Models: []Hardware{{Round: CPU, Slots: 256}, {Model: 7, Round: MAC, N: 1024, Slots: 1}}}).Encode()),
		State: hexa((&State{
			Epoch: 10, Slot: nonce.Slot, Rates: [2]uint64{5_000_000, 4_000_000}, Results: [2]Commitment{{Root: types.Sum(envelope), Count: 1}},
			Quality: 6250, Passed: 3, Faults: 1, Suspended: 34, Settled: 10, Free: 4, Allowance: 3_600_000,
		}).Encode()),
	}
	for i := range uint32(16) {
		g.Drawn = append(g.Drawn, Drawn(seed, types.Sum(envelope), i, 2000))
	}
	return g
}

// TestGolden holds every byte format and draw against committed ones. They change only with the protocol.
func TestGolden(t *testing.T) {
	got := makeGolden(t)
	const file = "testdata/golden.json"
	if *update {
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

// TestStateSize: a line stays small, as there are as many as devices.
func TestStateSize(t *testing.T) {
	s := State{Epoch: 1<<64 - 1, Slot: 1<<64 - 1, Quality: FullQuality, Passed: 1<<32 - 1}
	line := s.Encode()
	if len(line) >= 150 || len(line) != spec.MaxState {
		t.Errorf("a line has %d bytes, MaxState is %d", len(line), spec.MaxState)
	}
	if again, err := DecodeState(line); err != nil || cmp.Diff(&s, again) != "" {
		t.Error(cmp.Diff(&s, again), err)
	}
}
