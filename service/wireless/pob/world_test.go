package pob

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

const testChain = "cairn-test-1"

// key is a private key that a test can name.
func key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// registry has verifiers alone.
type registry []tally.Attester

func (registry) Device(types.Key) *tally.Device { return nil }
func (registry) Grant(types.Key) *tally.Grant   { return nil }
func (r registry) Attester(k types.Key) *tally.Attester {
	for i := range r {
		if r[i].Key == k {
			return &r[i]
		}
	}
	return nil
}
func (r registry) Attesters() iter.Seq[*tally.Attester] {
	return func(yield func(*tally.Attester) bool) {
		for i := range r {
			if !yield(&r[i]) {
				return
			}
		}
	}
}
func (registry) Devices(types.Category) iter.Seq[*tally.Device] {
	return func(func(*tally.Device) bool) {}
}

func verifier(i int) types.PrivateKey { return key(fmt.Sprintf("golden verifier %d", i)) }
func vrf(i int) types.PrivateKey      { return key(fmt.Sprintf("golden vrf %d", i)) }

// world is an epoch in which a device is tested.
type world struct {
	clock   *Clock
	rules   Rules
	device  types.PrivateKey
	subject Subject
	keys    map[types.Key]int // verifiers
}

// newWorld has n verifiers, all of which challenge one device that claims so much.
func newWorld(n int, claim uint64) *world {
	w := &world{rules: DefaultRules(), device: key("golden device"), keys: map[types.Key]int{}}
	w.rules.Whole, w.rules.Young = 1, 1
	var r registry
	for i := range n {
		r = append(r, tally.Attester{Key: verifier(i).Public(), VRF: vrf(i).Public(), Owner: types.Account{byte(i + 1)}, Power: 1})
		w.keys[verifier(i).Public()] = i
		w.subject.Members = append(w.subject.Members, verifier(i).Public())
	}
	seed := types.Sum([]byte("seed"))
	w.clock = &Clock{Chain: testChain, Epoch: 10, Seed: seed, Time: 1_800_000_000, Rules: &w.rules, Conductors: NewConductors(r, seed)}
	w.subject.Device, w.subject.Claim, w.subject.Prefix = w.device.Public(), claim, PrefixOf(netip.MustParseAddr("198.51.100.7"))
	return w
}

// start returns the start of a half.
func (w *world) start(half uint8) Start {
	s := Start{Epoch: w.clock.Epoch, Half: half, Prefix: w.subject.Prefix}
	who, ok := w.clock.Conductors.Of(s.Prefix)
	if !ok {
		panic("nobody conducts")
	}
	s.Proof = beacon.ProveAt(vrf(w.keys[who[half].Key]), testChain, StartPurpose, w.clock.Seed, StartNumber(s.Prefix, half))
	return s
}

// net is the one in which a challenger is.
func net(i int) Net { return Net{4, 203, byte(i)} }

// said is what challenger i reports, if of its packets those came that come says.
func (w *world) said(t testing.TB, i int, half uint8, come func(number uint32) bool) Said {
	t.Helper()
	start := w.start(half)
	test, err := w.clock.Test(&w.subject, &start)
	if err != nil {
		t.Fatal(err)
	}
	secret := types.Sum([]byte{'s', byte(i), half})
	got := NewReceived(test.Packets)
	for n := range test.Packets {
		if come(n) {
			got.Add(n, MakeTag((*[32]byte)(&secret), test.ID, n))
		}
	}
	return Said{By: w.subject.Members[i], Report: &Report{
		Device: w.subject.Device, Start: start, Secret: secret, Prefix: w.subject.Prefix, Arrival: 3150,
		Reply: w.sign(got.Reply(test.ID, w.subject.Members[i], net(i))),
	}}
}

func (w *world) sign(r Reply) *SignedReply {
	return &SignedReply{Reply: r, Signature: w.device.Sign(DomainReply, testChain, r.Payload())}
}

// all is what all of them report, of a share of their packets.
func (w *world) all(t testing.TB, half uint8, share float64) (out []Said) {
	for i := range w.subject.Members {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		out = append(out, w.said(t, i, half, func(uint32) bool { return r.Float64() < share }))
	}
	return out
}
