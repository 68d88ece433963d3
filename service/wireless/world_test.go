package wireless

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

const testChain = "cairn-test-1"

// mega is a Mbit/s.
const mega = 1_000_000

// key is a private key that a test can name.
func key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// home is the prefix of most devices.
var home = prefix("198.51.100.7")

func prefix(address string) pob.Prefix { return pob.PrefixOf(netip.MustParseAddr(address)) }

// world is one region as the category sees it: a clock, a registry, verifiers and devices.
type world struct {
	servicetest.Registry
	t         testing.TB
	name      string // of its randomness
	epoch     types.Epoch
	rules     *Rules
	verifiers map[types.Key]types.PrivateKey
	vrf       map[types.Key]types.PrivateKey
	number    map[types.Key]int // of each verifier: its network
	devices   []*device
	seq       uint64 // of verifiers' envelopes
}

// newWorld makes a world with so many verifiers of as many owners, which tests every prefix in every epoch. All it draws
// follows from its name.
func newWorld(t testing.TB, name string, verifiers int) *world {
	w := &world{
		t: t, name: name, epoch: 100, rules: DefaultRules(), verifiers: map[types.Key]types.PrivateKey{}, vrf: map[types.Key]types.PrivateKey{},
		number: map[types.Key]int{},
	}
	w.rules.Test.Whole, w.rules.Test.Young = 1, 1
	w.rules.Issuers = []types.Key{key("issuer").Public()}
	for i := range verifiers {
		k, vrf := key(fmt.Sprint("verifier ", i)), key(fmt.Sprint("vrf ", i))
		w.verifiers[k.Public()], w.vrf[k.Public()], w.number[k.Public()] = k, vrf, i
		w.Voters = append(w.Voters, tally.Attester{Key: k.Public(), VRF: vrf.Public(), Owner: types.Account{1, byte(i)}, Power: 10})
	}
	slices.SortFunc(w.Voters, func(a, b tally.Attester) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return w
}

func (w *world) seed() types.Hash {
	return types.Sum([]byte(w.name), binary.BigEndian.AppendUint64(nil, uint64(w.epoch)))
}

// time is when the epoch began.
func (w *world) time() uint64 { return 1_800_000_000 + 3600*uint64(w.epoch) }

func (w *world) random(purpose string) *beacon.Stream {
	return beacon.NewStream(w.seed(), "test/"+purpose)
}

// clock is the epoch's.
func (w *world) clock() *pob.Clock {
	return &pob.Clock{
		Chain: testChain, Epoch: w.epoch, Seed: w.seed(), Time: w.time(), Rules: &w.rules.Test, Conductors: pob.NewConductors(w, w.seed()),
	}
}

// start is what the conductor of a half calls.
func (w *world) start(p pob.Prefix, half uint8) pob.Start {
	s := pob.Start{Epoch: w.epoch, Half: half, Prefix: p}
	who, ok := w.clock().Conductors.Of(p)
	if !ok {
		w.t.Fatal("nobody conducts")
	}
	s.Proof = beacon.ProveAt(w.vrf[who[half].Key], testChain, pob.StartPurpose, w.seed(), pob.StartNumber(p, half))
	return s
}

// device is an honest provider, reduced to what evidence needs. Tests bend it.
type device struct {
	w        *world
	key      types.PrivateKey
	info     tally.Device
	at       pob.Prefix
	claim    uint64
	line     []byte
	seq      uint64
	evidence []*evidence.Envelope
	reports  []*evidence.Envelope
	receipts []*tally.ReceiptItem
	asks     []*receipt.Ask
	paid     map[types.SessionID]tally.ReceiptItem
}

func (w *world) device(name string, claim uint64) *device {
	k := key(name)
	d := &device{w: w, key: k, at: home, claim: claim, paid: map[types.SessionID]tally.ReceiptItem{}}
	d.info = tally.Device{Key: k.Public(), Owner: types.Account{2, byte(len(w.Members))}, Categories: []types.Category{types.Wireless}}
	w.Members = append(w.Members, d.info)
	w.devices = append(w.devices, d)
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
		Chain: testChain, Category: types.Wireless, Kind: kind, Epoch: d.w.epoch, Seq: d.seq, Body: body,
	}))
	return len(d.evidence) - 1
}

// report has a verifier report on the device, and returns the place among the epoch's reports.
func (d *device) report(by types.Key, body []byte) int {
	d.w.seq++
	d.reports = append(d.reports, evidence.Sign(d.w.verifiers[by], evidence.Payload{
		Chain: testChain, Category: types.Wireless, Kind: KindReport, Epoch: d.w.epoch, Seq: d.w.seq, Body: body,
	}))
	return len(d.reports) - 1
}

// here hands in where the device is.
func (d *device) here() int {
	return d.submit(KindEndpoint, (&Endpoint{Prefix: d.at, Claim: d.claim, Tests: true}).Encode())
}

// members are the device's challengers in this epoch, in the order drawn.
func (d *device) members() []types.Key {
	p, err := tally.NewPanel(&spec, d.w, d.w.seed())
	if err != nil {
		d.w.t.Fatal(err)
	}
	return p.Draw(&d.info, pob.ForTest)
}

// test is the device's test of a half, nil where it is not tested.
func (d *device) test(half uint8) (*pob.Test, *pob.Start) {
	p, claim, results, ok := Subject(d.line)
	if !ok || d.w.clock().Rules.Drawn(d.w.seed(), p) == pob.NoDraw {
		return nil, nil
	}
	start := d.w.start(p, half)
	t, err := d.w.clock().Test(&pob.Subject{Device: d.info.Key, Prefix: p, Claim: claim, Results: results, Members: d.members()}, &start)
	if err != nil {
		return nil, nil
	}
	return t, &start
}

// seen is what a challenger reports of a test if the first so many packets came: all where there are fewer.
func (d *device) seen(t *pob.Test, start *pob.Start, by types.Key, packets uint32) *pob.Report {
	r := &pob.Report{Device: d.info.Key, Start: *start, Secret: types.Sum([]byte("secret"), by[:], t.ID[:]), Prefix: t.Prefix, Arrival: 3150}
	got := pob.NewReceived(t.Packets)
	for n := range min(packets, t.Packets) {
		got.Add(n, pob.MakeTag((*[32]byte)(&r.Secret), t.ID, n))
	}
	r.Reply = d.sign(got.Reply(t.ID, by, pob.Net{4, 203, byte(d.w.number[by])}))
	return r
}

func (d *device) sign(r pob.Reply) *pob.SignedReply {
	return &pob.SignedReply{Reply: r, Signature: d.key.Sign(pob.DomainReply, testChain, r.Payload())}
}

// honestly has the device tested on a line that carries so much to it in the time of sending: what is sent beyond it is lost
// of each challenger alike.
func (d *device) honestly(line uint64) {
	t, start := d.test(0)
	if t == nil {
		return
	}
	for _, m := range t.Members {
		d.report(m, d.seen(t, start, m, d.w.carries(line, 3000)/uint32(len(t.Members))).Encode())
	}
}

// carries is how many packets a line carries in so many milliseconds.
func (w *world) carries(line, ms uint64) uint32 { return uint32(line * ms / 8000 / pob.Payload) }

// input is what the tally hands to Verify for d in the current epoch.
func (d *device) input() *tally.Input {
	w := d.w
	params := spec.Defaults()
	params.Rules = w.rules.Encode()
	panel, err := tally.NewPanel(&spec, w, w.seed())
	if err != nil {
		w.t.Fatal(err)
	}
	info := d.info
	slices.SortStableFunc(d.reports, func(a, b *evidence.Envelope) int { return bytes.Compare(a.Author[:], b.Author[:]) })
	return &tally.Input{
		Chain: testChain, Epoch: w.epoch, Seed: w.seed(), Challenged: true, Time: w.time(), Params: params, Registry: w, Panel: panel, Device: &info,
		Evidence: d.evidence, Reports: d.reports, Receipts: d.receipts, Asks: d.asks, State: bytes.Clone(d.line),
		Opened: func(tally.SessionKey) bool { return true },
	}
}

// judged closes the epoch of a device, with a last word on the input.
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
	d.line, d.evidence, d.reports, d.receipts, d.asks = out.State, nil, nil, nil, nil
	return out
}

// next closes the epoch of all devices, compares them, and begins the next one. It returns what each device earned.
func (w *world) next() map[*device]*tally.Output {
	out := map[*device]*tally.Output{}
	in := &tally.CrossInput{Chain: testChain, Epoch: w.epoch, Seed: w.seed(), Params: spec.Defaults(), Registry: w}
	in.Params.Rules = w.rules.Encode()
	for _, d := range w.devices {
		out[d] = d.judged()
		if out[d].Summary != nil {
			in.Summaries = append(in.Summaries, tally.Summary{Device: &d.info, Summary: out[d].Summary})
		}
	}
	for _, s := range New().Cross(in).States {
		for _, d := range w.devices {
			if d.info.Key == s.Device {
				d.line = s.State
			}
		}
	}
	w.epoch++
	return out
}

// ordered is what an output has of network-ordered units.
func ordered(out *tally.Output) uint64 {
	n := uint64(0)
	for _, o := range out.Ordered {
		u, _ := o.Units.Uint64()
		n += u
	}
	return n
}

// session is one between a customer and the device.
type session struct {
	d     *device
	payer types.Key
	ask   receipt.Ask
	id    types.SessionID
}

func (d *device) session(name string, class types.Class, speed uint16) *session {
	h := types.Sum([]byte(name))
	return &session{
		d: d, payer: key(name).Public(), id: types.NewSessionID(5000, [12]byte(h[:12])),
		ask: receipt.Ask{
			Chain: testChain, Device: d.info.Key, Category: types.Wireless, Class: class, Price: 100_000,
			Terms: (&Terms{Speed: speed, Address: "198.51.100.7:4433"}).Encode(), Until: 4000,
		},
	}
}

// pay hands in a receipt of so many bytes in all, and returns its place among the epoch's receipts.
func (s *session) pay(units uint64) int {
	before := s.d.paid[s.id]
	amount, err := Amount(units, s.ask.Price)
	if err != nil {
		s.d.w.t.Fatal(err)
	}
	if !before.Opened {
		s.d.asks = append(s.d.asks, &s.ask)
	}
	s.d.receipts = append(s.d.receipts, &tally.ReceiptItem{
		Receipt: &receipt.Receipt{
			Chain: testChain, Category: types.Wireless, Session: s.id, Payer: s.payer, Device: s.d.info.Key, Terms: s.ask.Hash(),
			Units: types.U64(units), Amount: amount,
		},
		Class: s.ask.Class, Price: s.ask.Price, Units: before.Units, Amount: before.Amount, Opened: before.Opened,
	})
	return len(s.d.receipts) - 1
}
