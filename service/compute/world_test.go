package compute

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/servicetest"
)

// testModel is a registered model of accelerators; model 0 is of processors.
const testModel = 7

func testRules() *Rules {
	return &Rules{Rarity: 2, Models: []Hardware{{Round: CPU, Slots: 8}, {Model: testModel, Round: MAC, N: mac.MinOrder, Slots: 1}}}
}

// world is one region as the category sees it: a clock, a registry, verifiers and devices.
type world struct {
	servicetest.Registry
	t         testing.TB
	epoch     types.Epoch
	name      string                         // of its randomness
	verifiers map[types.Key]types.PrivateKey // and their keys
	vrf       map[types.Key]types.PrivateKey // by verifier
	panel     *tally.Panel
	of        types.Epoch // the panel's
	seq       uint64      // of verifiers' envelopes
	round     mac.Mixer   // what a CPU round is: quick in tests
	unsigned  bool        // witnesses take steps without looking at their signatures
}

// newWorld makes a world with so many verifiers of as many owners. All it draws follows from its name.
func newWorld(t testing.TB, name string, verifiers int) *world {
	w := &world{t: t, epoch: 100, name: name, verifiers: map[types.Key]types.PrivateKey{}, vrf: map[types.Key]types.PrivateKey{}}
	w.round = func(seed types.Hash) (types.Hash, error) { return types.Sum([]byte("round"), seed[:]), nil }
	for i := range verifiers {
		k, vrf := key(fmt.Sprint("verifier ", i)), key(fmt.Sprint("vrf ", i))
		w.verifiers[k.Public()], w.vrf[k.Public()] = k, vrf
		w.Voters = append(w.Voters, tally.Attester{Key: k.Public(), VRF: vrf.Public(), Owner: types.Account{1, byte(i)}, Power: 10 + uint64(i)})
	}
	slices.SortFunc(w.Voters, func(a, b tally.Attester) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return w
}

func (w *world) seed() types.Hash {
	return types.Sum([]byte(w.name), binary.BigEndian.AppendUint64(nil, uint64(w.epoch)))
}

// time is when the epoch began.
func (w *world) time() uint64 { return 1_800_000_000 + 3600*uint64(w.epoch) }

// random is the next of the world's own randomness for a purpose.
func (w *world) random(purpose string) *beacon.Stream {
	return beacon.NewStream(w.seed(), "test/"+purpose)
}

func (w *world) draw(d *tally.Device, purpose string) []types.Key {
	if w.panel == nil || w.of != w.epoch {
		p, err := tally.NewPanel(&spec, w, w.seed())
		if err != nil {
			w.t.Fatal(err)
		}
		w.panel, w.of = p, w.epoch
	}
	return w.panel.Draw(d, purpose)
}

// slot is the first slot of the epoch that fires, after so many.
func (w *world) slot(skip int) (slot uint64, proof []byte) {
	caller := Caller(w, w.seed())
	if caller == nil {
		w.t.Fatal("nobody calls")
	}
	for slot = w.time()/SlotTime + 10; ; slot++ {
		proof, fires := ProveSlot(w.vrf[caller.Key], testChain, w.seed(), slot, testRules().Rarity)
		if fires {
			if skip == 0 {
				return slot, proof
			}
			skip--
		}
	}
}

// device is an honest provider, reduced to what evidence needs. Tests bend it.
type device struct {
	w        *world
	key      types.PrivateKey
	info     tally.Device
	line     []byte
	seq      uint64
	evidence []*evidence.Envelope
	reports  []*evidence.Envelope
	receipts []*tally.ReceiptItem
	asks     []*receipt.Ask
	paid     map[types.SessionID]tally.ReceiptItem
	speed    uint32 // rounds of one chain in Window
	results  map[types.Epoch][]*evidence.Envelope
}

func (w *world) device(name string, model uint64) *device {
	k := key(name)
	d := &device{w: w, key: k, speed: 20, paid: map[types.SessionID]tally.ReceiptItem{}, results: map[types.Epoch][]*evidence.Envelope{}}
	d.info = tally.Device{Key: k.Public(), Owner: types.Account{2, byte(len(w.Members))}, Categories: []types.Category{types.Compute}, Model: model}
	w.Members = append(w.Members, d.info)
	slices.SortFunc(w.Members, func(a, b tally.Device) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return d
}

func (d *device) state() *State {
	s, err := DecodeState(d.line)
	if err != nil {
		d.w.t.Fatal(err)
	}
	return s
}

// submit signs evidence of the current epoch and returns its place among the epoch's evidence.
func (d *device) submit(kind evidence.Kind, body []byte) int {
	d.seq++
	d.evidence = append(d.evidence, evidence.Sign(d.key, evidence.Payload{
		Chain: testChain, Category: types.Compute, Kind: kind, Epoch: d.w.epoch, Seq: d.seq, Body: body,
	}))
	return len(d.evidence) - 1
}

// report has a verifier report on the device, and returns the place among the epoch's reports.
func (d *device) report(by types.PrivateKey, kind evidence.Kind, body []byte) int {
	d.w.seq++
	d.reports = append(d.reports, evidence.Sign(by, evidence.Payload{
		Chain: testChain, Category: types.Compute, Kind: kind, Epoch: d.w.epoch, Seq: d.w.seq, Body: body,
	}))
	return len(d.reports) - 1
}

func (d *device) offer(free uint16) int { return d.submit(KindOffer, (&Offer{Free: free}).Encode()) }

// session is one between a customer and the device, with its leaves.
type session struct {
	d      *device
	payer  types.Key
	ask    receipt.Ask
	id     types.SessionID
	class  types.Class
	leaves []Leaf
}

func (d *device) session(name string, class types.Class) *session {
	h := types.Sum([]byte(name))
	s := &session{d: d, payer: key(name).Public(), id: types.NewSessionID(5000, [12]byte(h[:12])), class: class}
	profile := map[types.Class]Profile{Wasm: {Name: WasmProfile}, OCI: {Name: OCIProfile}, Model: {Name: "model/small", Prompt: 1, Completion: 4}}[class]
	terms := &Terms{Profiles: []Profile{profile}, Session: s.id}
	s.ask = receipt.Ask{Chain: testChain, Device: d.info.Key, Category: types.Compute, Class: class, Price: scaleOf(class), Terms: terms.Encode(), Until: 4000}
	return s
}

// job ends a job that cost fuel.
func (s *session) job(fuel uint64, mode Mode) *SignedLeaf {
	i := len(s.leaves)
	job := &Job{Profile: WasmProfile, Code: types.Sum([]byte("code")), Args: []string{fmt.Sprint(i)}, Stdin: Nothing, Input: Files{}.Root(), Limit: MaxFuel, Pages: 16}
	l := Leaf{Session: s.id, Index: uint64(i), Job: job.Hash(), Fuel: fuel, Mode: mode}
	if mode != Cut {
		l.Result = s.result(i, fuel).Hash()
	}
	s.leaves = append(s.leaves, l)
	return s.sign(l)
}

// result is what an honest run of job i gives.
func (s *session) result(i int, fuel uint64) *Result {
	return &Result{Stdout: types.Sum(s.id[:], []byte{byte(i)}), Stderr: Nothing, Output: Files{}.Root(), Fuel: fuel}
}

func (s *session) sign(l Leaf) *SignedLeaf {
	signed := &SignedLeaf{Epoch: s.d.w.epoch, Leaf: l}
	signed.Signature = s.d.key.Sign(DomainLeaf, testChain, signed.Payload())
	return signed
}

// before is what the leaves before leaf i cost.
func (s *session) before(i int) (sum uint64) {
	for _, l := range s.leaves[:i] {
		sum += l.Fuel
	}
	return sum
}

func (s *session) tree(from int) *Tree {
	t, err := NewTree(s.leaves[from:])
	if err != nil {
		s.d.w.t.Fatal(err)
	}
	return t
}

// commit hands in the results of leaves from one on.
func (s *session) commit(from int) int {
	at := s.d.submit(KindResults, s.tree(from).Results(s.before(from)).Encode())
	s.d.results[s.d.w.epoch] = append(s.d.results[s.d.w.epoch], s.d.evidence[at])
	return at
}

// pay hands in a receipt of so many units in all, and returns its place among the epoch's receipts.
func (s *session) pay(units uint64) int {
	before := s.d.paid[s.id]
	r := &receipt.Receipt{
		Chain: testChain, Category: types.Compute, Session: s.id, Payer: s.payer, Device: s.d.info.Key, Terms: s.ask.Hash(),
		Units: types.U64(units), Amount: types.Credit(units),
	}
	if !before.Opened {
		s.d.asks = append(s.d.asks, &s.ask)
	}
	s.d.receipts = append(s.d.receipts, &tally.ReceiptItem{
		Receipt: r, Class: s.class, Price: s.ask.Price, Units: before.Units, Amount: before.Amount, Opened: before.Opened,
	})
	return len(s.d.receipts) - 1
}

// settles closes the epoch with a receipt, and holds what becomes of it against what should.
func (s *session) settles(units uint64, want types.Reason) {
	s.d.w.t.Helper()
	at := s.pay(units)
	s.d.wantPaid(s.d.judged(), at, want)
}

// audit has a verifier report on leaf i of the results that were committed to AuditDelay epochs ago, as number k.
func (s *session) audit(by types.PrivateKey, k, from, i int, bend func(*Audit)) int {
	d := s.d
	list := d.results[d.w.epoch-AuditDelay]
	hashes := make([]types.Hash, len(list))
	for n, e := range list {
		hashes[n] = e.Hash
	}
	path, leaf := s.tree(from).Prove(i-from), s.leaves[i]
	a := &Audit{
		Device: d.info.Key, Results: list[k].Raw, Place: merkle.Prove(hashes, k), Index: uint32(i - from), Leaf: &leaf, Path: &path,
		Result: s.result(i, leaf.Fuel).Hash(), Fuel: leaf.Fuel,
	}
	bend(a)
	return d.report(by, KindAudit, a.Encode())
}

// run is a check on its way: what a device does when a slot fires, and what its witnesses see.
type run struct {
	d       *device
	slot    uint64
	proof   []byte
	members []types.Key
	f       int
	nonces  []SignedNonce
	check   *Check
	steps   []SignedStep
	product map[uint32]*mac.Product // by t, of accelerators
}

// call begins a check: all members of the panel send their nonces.
func (d *device) call(skip int) *run {
	r := &run{d: d, product: map[uint32]*mac.Product{}}
	r.slot, r.proof = d.w.slot(skip)
	r.members, r.f = Panel(d.w.draw(&d.info, ForSlot))
	for _, m := range r.members {
		n := Nonce{Epoch: d.w.epoch, Device: d.info.Key, Slot: r.slot, Nonce: types.Sum(m[:], binary.BigEndian.AppendUint64(nil, r.slot), []byte(d.w.name))}
		r.nonces = append(r.nonces, n.Sign(testChain, d.w.verifiers[m]))
	}
	slices.SortFunc(r.nonces, func(a, b SignedNonce) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
	return r
}

func (d *device) hardware() Hardware { return testRules().Hardware(d.info.Model) }

// compute makes the steps of a number of chains, each of so many rounds. round says what a device puts for the
// root of a step.
func (r *run) compute(chains, rounds uint32, round func(s *Step) types.Hash) {
	h := r.d.hardware()
	var roots []types.Hash
	for c := range chains {
		s := Step{Epoch: r.d.w.epoch, Slot: r.slot, Chain: c, Seed: ChainSeed(Seed(r.d.info.Key, r.slot, r.nonces), c)}
		for t := range rounds {
			s.T = t
			s.Root = round(&s)
			signed := SignedStep{Step: s}
			if !r.d.w.unsigned {
				signed = s.Sign(testChain, r.d.key)
			}
			r.steps, roots = append(r.steps, signed), append(roots, s.Root)
			s.Seed = s.Next()
		}
	}
	n := chains
	if h.Round == MAC {
		n = h.N
	}
	r.check = &Check{Slot: r.slot, Proof: r.proof, Round: h.Round, N: n, Nonces: r.nonces, Steps: uint32(len(r.steps)), Root: merkle.Root(roots)}
}

// honest is what an honest device puts for a round.
func (r *run) honest(s *Step) types.Hash {
	if h := r.d.hardware(); h.Round == MAC {
		p := mac.Compute(s.Seed, int(h.N))
		r.product[s.T] = p
		return p.Tree().Root()
	}
	root, err := r.d.w.round(s.Seed)
	if err != nil {
		r.d.w.t.Fatal(err)
	}
	return root
}

// witness has a member see the check: it looks into rounds that it draws, as often as others would. It hands in
// what it finds.
func (r *run) witness(m types.Key) *Sighting {
	w := NewWatch(testChain, r.d.info.Key, r.d.w.epoch, r.slot, r.d.hardware(), r.nonces)
	s := &Sighting{Device: r.d.info.Key, Slot: r.slot, OK: true}
	for i := range r.steps {
		if c := r.steps[i].Step.Chain; r.d.w.unsigned {
			w.steps[c] = append(w.steps[c], r.steps[i])
			continue
		}
		s.OK = w.Add(&r.steps[i]) == nil && s.OK
	}
	s.Count = w.Count()
	random := r.d.w.random(string(m[:]) + string(r.d.info.Key[:]) + fmt.Sprint(r.slot))
	openings := w.Draw(random)
	fault := w.Fault()
	for _, o := range openings {
		step := w.Step(o)
		if r.d.hardware().Round == CPU {
			root, err := r.d.w.round(step.Step.Seed)
			s.OK = s.OK && err == nil && root == step.Step.Root
			continue
		}
		p := r.product[o.T]
		if p == nil {
			s.OK = false
			continue
		}
		var shown []ShownRow
		tree := p.Tree()
		for _, row := range o.Rows {
			shown = append(shown, ShownRow{Row: p.Row(int(row)), Path: tree.Proof(int(row))})
		}
		ok, found := w.Rows(o, shown, types.Sum(m[:], []byte("secret")))
		if s.OK = s.OK && ok; fault == nil {
			fault = found
		}
	}
	s.Opening = openings.Hash()
	if fault != nil {
		r.d.report(r.d.w.verifiers[m], KindFault, fault.Encode())
	}
	return s
}

// sighted has all members report what they see.
func (r *run) sighted() {
	for _, m := range r.members {
		r.d.report(r.d.w.verifiers[m], KindSighting, r.witness(m).Encode())
	}
}

// pass does an honest check.
func (d *device) pass(skip int, chains uint32) *run {
	r := d.call(skip)
	r.compute(chains, d.speed, r.honest)
	r.sighted()
	d.submit(KindCheck, r.check.Encode())
	return r
}

// input is what the tally hands to Verify for d in the current epoch.
func (d *device) input() *tally.Input {
	w := d.w
	params := spec.Defaults()
	params.Rules = testRules().Encode()
	w.draw(&d.info, ForSlot)
	info := d.info
	return &tally.Input{
		Chain: testChain, Epoch: w.epoch, Seed: w.seed(), Challenged: true, Time: w.time(), Params: params, Registry: w, Panel: w.panel, Device: &info,
		Evidence: d.evidence, Reports: d.reports, Receipts: d.receipts, Asks: d.asks, State: bytes.Clone(d.line),
		Opened: func(tally.SessionKey) bool { return true },
	}
}

// judged closes the epoch of a device, with a last word on the input. The world goes on with next.
func (d *device) judged(bend ...func(*tally.Input)) *tally.Output {
	in := d.input()
	for _, b := range bend {
		b(in)
	}
	out := New().Verify(in)
	for i, reason := range out.Receipts {
		if reason == "" {
			r := in.Receipts[i].Receipt
			d.paid[r.Session] = tally.ReceiptItem{Units: r.Units, Amount: r.Amount, Opened: true}
		}
	}
	if len(out.State) > spec.MaxState {
		d.w.t.Errorf("a line of %d bytes", len(out.State))
	}
	d.line, d.evidence, d.reports, d.receipts, d.asks = out.State, nil, nil, nil, nil
	return out
}

// next begins the next epoch.
func (w *world) next() { w.epoch++ }

// ordered is what an output has of network-ordered units.
func ordered(out *tally.Output) uint64 {
	n := uint64(0)
	for _, o := range out.Ordered {
		u, _ := o.Units.Uint64()
		n += u
	}
	return n
}

// want holds a verdict on evidence against what it should be.
func (d *device) want(out *tally.Output, at int, reason types.Reason) {
	d.w.t.Helper()
	if got := out.Evidence[at]; got.Reason != reason || got.Proof {
		d.w.t.Errorf("epoch %d: evidence %d: %q, proof %t; want %q", d.w.epoch, at, got.Reason, got.Proof, reason)
	}
}

// reported is want for reports, and whether one takes of the bond.
func (d *device) reported(out *tally.Output, at int, reason types.Reason, proof bool) {
	d.w.t.Helper()
	if got := out.Reports[at]; got.Reason != reason || got.Proof != proof {
		d.w.t.Errorf("epoch %d: report %d: %q, proof %t; want %q, %t", d.w.epoch, at, got.Reason, got.Proof, reason, proof)
	}
}

// wantPaid is want for receipts.
func (d *device) wantPaid(out *tally.Output, at int, reason types.Reason) {
	d.w.t.Helper()
	if got := out.Receipts[at]; got != reason {
		d.w.t.Errorf("epoch %d: receipt %d: %q, want %q", d.w.epoch, at, got, reason)
	}
}
