package line

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

const testChain = "cairn-test-1"

func key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// attesters are a registry that has verifiers alone.
type attesters []tally.Attester

func (attesters) Device(types.Key) *tally.Device     { return nil }
func (attesters) Grant(types.Key) *tally.Grant       { return nil }
func (attesters) Attester(types.Key) *tally.Attester { return nil }
func (a attesters) Attesters() iter.Seq[*tally.Attester] {
	return func(yield func(*tally.Attester) bool) {
		for i := range a {
			if !yield(&a[i]) {
				return
			}
		}
	}
}
func (attesters) Devices(types.Category) iter.Seq[*tally.Device] {
	return func(func(*tally.Device) bool) {}
}

// deviceAt and challengerAt are where they are: every challenger in a /16 of its own.
func deviceAt(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 7, byte(10 + i)}), 7000)
}

func challengerAt(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(10 + i), 0, 1}), 7001)
}

// rig is where a test runs: a simulated line, or network namespaces.
type rig interface {
	device(t testing.TB, i int) Conn
	challenger(t testing.TB, i int) Conn
}

// scenario is one way in which devices and challengers behave. The first challengers are those that misbehave.
type scenario struct {
	name    string
	devices int // behind the line; 0 for one
	silent  int // challengers that neither send nor report
	liars   int // challengers that say that all came
	// What liars do beside that: whether they send at all, how many times what they should, and when.
	sends, times uint32
	shift        time.Duration
	skew         time.Duration // clocks of honest challengers are off by up to so much, either way
	wait         time.Duration // of the device's reply, beyond what is right
	old          bool          // liars and device show tags of an earlier test with the same secret
	forged       bool          // the device says that everything came, to everybody
	related      bool          // liars are in one /16, and say so
	near         bool          // and the rule about that is out
	slice        bool          // the device's line carries one challenger at a time
	claim        float64       // of the line's rate; 0: twice what it is
	least, most  float64       // what it has to read: an attack that reads nothing shows nothing
}

func honest(silent int) scenario {
	name := "honest"
	if silent > 0 {
		name = fmt.Sprintf("honest, %d challengers withhold", silent)
	}
	s := scenario{name: name, silent: silent, claim: 1, least: 0.60, most: 0.68}
	if silent > 0 {
		s.least, s.most = 0.54, 0.60
	}
	return s
}

var attacks = []scenario{
	{name: "a line that claims twice what it is", least: 0.5, most: 1.01},
	{name: "two liars, who send too", liars: 2, sends: 1, times: 1, least: 0.5, most: 1.01},
	{name: "starving: two liars, who leave the line to the others", liars: 2, least: 0.8, most: 1.01},
	{name: "two liars, who flood", liars: 2, sends: 1, times: 3, least: 0.3, most: 1.01},
	{name: "staggering: two liars send before, clocks are off", liars: 2, sends: 1, times: 1, shift: -3 * time.Second, skew: 50 * time.Millisecond, least: 0.8, most: 1.01},
	{name: "time slicing: one challenger at a time, two liars", liars: 2, slice: true, least: 0.25, most: 1.01},
	{name: "an early reply, two liars", liars: 2, wait: -time.Second, least: 0.5, most: 1.01},
	{name: "a reply as late as it may be, two liars", liars: 2, wait: 40 * time.Millisecond, least: 0.8, most: 1.01},
	{name: "a late reply, two liars", liars: 2, wait: 400 * time.Millisecond, most: 1.01},
	{name: "a replayed secret", liars: 2, old: true, least: 0.5, most: 1.01},
	{name: "a forged bitmap", forged: true, most: 1.01},
	{name: "four related challengers lie", liars: 4, related: true, least: 0.5, most: 1.01},
	{name: "four devices behind one line", devices: 4, least: 0.5, most: 1.01},
	{name: "four devices behind one line, two liars each", devices: 4, liars: 2, least: 0.8, most: 1.01},
}

// reading is what came of a scenario, in shares of the line.
type reading struct {
	proven  float64 // the sum over the devices
	naive   float64 // what the sum of all reports over the time of sending would say
	reasons map[types.Reason]int
}

// run runs a scenario on a line of a rate.
func (s scenario) run(t testing.TB, at rig, rate uint64) reading {
	t.Helper()
	rules := pob.DefaultRules()
	rules.Whole, rules.Young, rules.Near = 1, 1, s.near
	claim := uint64(float64(rate) * max(s.claim, 0))
	if s.claim == 0 {
		claim = 2 * rate
	}
	prefix := pob.PrefixOf(deviceAt(0).Addr())
	var registry attesters
	var members []types.Key
	var vrfs = map[types.Key]types.PrivateKey{}
	for i := range pob.Seats {
		k, vrf := key(fmt.Sprint("challenger ", i)).Public(), key(fmt.Sprint("vrf ", i))
		registry = append(registry, tally.Attester{Key: k, VRF: vrf.Public(), Power: 1})
		members, vrfs[k] = append(members, k), vrf
	}
	seed := types.Sum([]byte("seed"))
	clock := &pob.Clock{Chain: testChain, Epoch: 10, Seed: seed, Time: uint64(time.Now().Unix()), Rules: &rules, Conductors: pob.NewConductors(registry, seed)}
	start := pob.Start{Epoch: 10, Prefix: prefix}
	who, _ := clock.Conductors.Of(prefix)
	start.Proof = beacon.ProveAt(vrfs[who[0].Key], testChain, pob.StartPurpose, seed, pob.StartNumber(prefix, 0))

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	skew := func(i int) time.Duration {
		return time.Duration(i-pob.Seats/2) * 2 * s.skew / pob.Seats
	}
	var challengers []*Challenger
	for i := range pob.Seats {
		c := NewChallenger(at.challenger(t, i), ChallengerConfig{Chain: testChain, Key: members[i], Uplink: 1 << 40,
			Now: func() time.Time { return time.Now().Add(skew(i)) }})
		running.Go(func() { c.Run(ctx) })
		challengers = append(challengers, c)
	}
	t0 := time.Now().Add(time.Second)
	type result struct {
		device int
		said   pob.Said
	}
	results := make(chan result, 64)
	var tests sync.WaitGroup
	var subjects []pob.Subject
	for d := range max(s.devices, 1) {
		device := key(fmt.Sprint("device ", d))
		subject := pob.Subject{Device: device.Public(), Prefix: prefix, Claim: claim, Members: members}
		subjects = append(subjects, subject)
		test, err := clock.Test(&subject, &start)
		if err != nil {
			t.Fatal(err)
		}
		r := NewReceiver(at.device(t, d), ReceiverConfig{Chain: testChain, Sign: func(kind string, p []byte) types.Signature { return device.Sign(kind, testChain, p) }})
		r.wait = s.wait
		running.Go(func() { r.Run(ctx) })
		for i := s.silent; i < pob.Seats; i++ {
			tests.Go(func() {
				report := &pob.Report{Device: device.Public(), Start: start, Secret: types.Sum([]byte{byte(i), byte(d)}), Prefix: prefix}
				defer func() { results <- result{d, pob.Said{By: members[i], Report: report}} }()
				sending := Sending{Test: test.ID, Device: device.Public(), T0: t0, Send: time.Duration(rules.Send) * time.Millisecond,
					Reply: time.Duration(rules.Reply) * time.Millisecond, Packets: test.Packets, Secret: report.Secret}
				if i < s.liars {
					net := pob.NetOf(challengerAt(i).Addr())
					if s.related {
						net = pob.NetOf(challengerAt(0).Addr())
					}
					report.Reply, report.Arrival = full(device, test, report.Secret, members[i], net, s.old), 3200
					if s.sends == 0 {
						return
					}
					sending.T0, sending.Packets = t0.Add(s.shift), test.Packets*s.times
				}
				tests.Go(func() {
					_, _ = r.Join(ctx, Joining{Test: test.ID, Challenger: members[i], Address: challengerAt(i), Send: sending.Send, Reply: sending.Reply, Packets: sending.Packets})
				})
				h, err := challengers[i].Challenge(ctx, sending)
				if err != nil {
					t.Error(err)
					return
				}
				if i < s.liars {
					return
				}
				if h.Reply == nil && s.wait == 0 {
					t.Logf("%s: no reply to challenger %d, which sent %d of %d to %v", s.name, i, h.Sent, sending.Packets, h.From)
				}
				report.Prefix, report.Reply, report.Arrival = pob.PrefixOf(h.From.Addr()), h.Reply, uint32(h.Arrival.Milliseconds())
				if s.forged && report.Reply != nil {
					report.Reply = full(device, test, types.Sum([]byte("a guess")), members[i], report.Reply.Reply.Net, false)
				}
			})
		}
	}
	tests.Wait()
	close(results)
	said := make([][]pob.Said, len(subjects))
	for r := range results {
		said[r.device] = append(said[r.device], r.said)
	}
	out := reading{reasons: map[types.Reason]int{}}
	for d := range subjects {
		slices.SortFunc(said[d], func(a, b pob.Said) int { return slices.Compare(a.By[:], b.By[:]) })
		got := clock.Judge(&subjects[d], said[d])
		for _, reason := range got.Reasons {
			if reason != "" {
				out.reasons[reason]++
			}
		}
		out.proven += float64(got.Capacity) / float64(rate)
		for _, s := range said[d] {
			if s.Report.Reply != nil {
				for _, b := range s.Report.Reply.Reply.Got {
					for ; b != 0; b &= b - 1 {
						out.naive += 8 * pob.Payload / (float64(rules.Send) / 1000) / float64(rate)
					}
				}
			}
		}
	}
	return out
}

// full is a reply that says that all packets came.
func full(device types.PrivateKey, test *pob.Test, secret types.Hash, challenger types.Key, net pob.Net, old bool) *pob.SignedReply {
	got, id := pob.NewReceived(test.Packets), test.ID
	if old {
		id[0] ^= 1
	}
	for n := range test.Packets {
		got.Add(n, pob.MakeTag((*[32]byte)(&secret), id, n))
	}
	r := got.Reply(test.ID, challenger, net)
	return &pob.SignedReply{Reply: r, Signature: device.Sign(pob.DomainReply, testChain, r.Payload())}
}
