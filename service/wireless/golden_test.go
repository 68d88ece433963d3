package wireless

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// golden is one of everything that has bytes: enough to write another implementation against. What package pob encodes
// is in its own.
type golden struct {
	About                  string
	Terms, Endpoint, Grant string // in hexadecimal, as all that is text here
	Permit                 string // what a grant's issuer signs
	Rules, State           string
	Amounts                []types.Credit // of 1, 9,999, 10,000 and 123,456,789 bytes at a price of 100,000
	Limits                 []uint64       // W of a tunnel, as it grows
	Score, Proven          uint64         // of State
	Quality                types.Bp
	Shares                 []uint64 // of claims of 100, 100, 20 and 1 Mbit/s in a prefix of 120, of which the second was read at 40
}

func makeGolden(t *testing.T) *golden {
	permit := Permit{Device: key("golden device").Public(), ID: "grant-1", Low: 3_550_000, High: 3_560_000, EIRP: 300, Until: 500}
	rules := DefaultRules()
	rules.Issuers = []types.Key{key("golden issuer").Public()}
	state := testState()
	g := &golden{
		About:    "chain cairn-test-1; keys are the Ed25519 keys of SHA-256(\"golden device\") and so on; shares by the seed SHA-256(\"seed\")",
		Terms:    hex.EncodeToString((&Terms{Speed: 100, Address: "198.51.100.7:4433"}).Encode()),
		Endpoint: hex.EncodeToString((&Endpoint{Prefix: home, Claim: 100 * mega, Tests: true}).Encode()),
		Grant:    hex.EncodeToString(permit.Sign(testChain, key("golden issuer")).Encode()),
		Permit:   hex.EncodeToString(types.Encode(&permit)),
		Rules:    hex.EncodeToString(rules.Encode()),
		State:    hex.EncodeToString(state.Encode()),
		Score:    state.Score(), Proven: state.Proven(), Quality: state.Quality(),
	}
	for _, n := range []uint64{1, 9_999, 10_000, 123_456_789} {
		amount, err := Amount(n, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		g.Amounts = append(g.Amounts, amount)
	}
	l := LimitOf(Tunnel)
	for w := l.First; ; w = l.Next(w) {
		if g.Limits = append(g.Limits, w); w == l.Most {
			break
		}
	}
	var all []member
	for i, claim := range []uint64{100, 100, 20, 1} {
		s := &State{Prefix: home, Tests: true, Here: true, Claim: claim * mega}
		if i == 1 {
			s.read(Reading{100, 40 * mega}, true)
		}
		all = append(all, member{device: types.Key{byte(i)}, state: s})
	}
	share(all, 120*mega, types.Sum([]byte("seed")))
	for _, m := range all {
		g.Shares = append(g.Shares, m.state.Share)
	}
	return g
}

func testState() *State {
	s := &State{
		Epoch: 110, Prefix: home, Tests: true, Here: true, Claim: 100 * mega, Share: 80 * mega,
		Allowance: 90_000_000_000, Grant: 500,
	}
	for i := range s.Readings {
		s.Readings[i] = Reading{types.Epoch(109 - i), uint64(40+i) * mega}
	}
	s.Last = Reading{107, 42 * mega}
	return s
}

// TestGolden holds every byte format against committed ones. They change only with the protocol.
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
	most := Reading{1<<64 - 1, pob.MaxClaim}
	s := State{
		Epoch: 1<<64 - 1, Prefix: home, Tests: true, Here: true, Claim: pob.MaxClaim, Share: pob.MaxClaim, Last: most, Allowance: 1<<64 - 1,
		Grant: 1<<64 - 1,
	}
	for i := range s.Readings {
		s.Readings[i] = most
	}
	if line := s.Encode(); len(line) > 100 || len(line) != spec.MaxState {
		t.Errorf("a line has %d bytes, MaxState is %d", len(line), spec.MaxState)
	}
	if again, err := DecodeState(testState().Encode()); err != nil || cmp.Diff(testState(), again) != "" {
		t.Error(cmp.Diff(testState(), again), err)
	}
}
