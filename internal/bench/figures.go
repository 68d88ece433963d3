package main

import (
	"fmt"
	"slices"
)

// section is a part of the table: some runs, and what is read from them.
type section struct {
	name    string
	runs    []run
	figures []figure
}

// figure is a row to be: how it is computed from metrics.
type figure struct {
	name   string
	unit   string
	value  source
	beside string // what the peer is
	peer   source // the zero source for none
	// ratio is a metric that compares value and peer within the same seconds, or "" to divide their medians.
	ratio  string
	target target
	bound  string
}

// source is a number: a metric's median times scale (0 is 1), or, without a metric, a constant.
type source struct {
	metric string
	scale  float64
	is     float64
}

func metric(name string) source             { return source{metric: name} }
func scaled(name string, by float64) source { return source{metric: name, scale: by} }
func constant(v float64) source             { return source{is: v} }
func (s source) isNone() bool               { return s == source{} }
func (s source) read(m metrics) (v float64, ok bool) {
	if s.metric == "" {
		return s.is, true
	}
	if v, ok = m.median(s.metric); ok && s.scale != 0 {
		v *= s.scale
	}
	return v, ok
}

// target is what a ratio should be: from low to high; 0 is no bound. The zero target sets none.
type target struct{ low, high float64 }

func (t target) String() string {
	switch {
	case t == target{}:
		return ""
	case t.high == 0:
		return fmt.Sprintf("≥ %.4g", t.low)
	case t.low == 0:
		return fmt.Sprintf("≤ %.4g", t.high)
	}
	return fmt.Sprintf("%.4g–%.4g", t.low, t.high)
}

// verdict rounds to what the table prints.
func (t target) verdict(ratio float64) string {
	switch {
	case t == target{}:
		return informs
	case ratio < t.low || t.high != 0 && ratio > t.high:
		return missed
	}
	return met
}

// row computes the figure.
func (f *figure) row(section string, m metrics) Row {
	r := Row{Section: section, Figure: f.name, Unit: f.unit, Beside: f.beside, Target: f.target.String(), Verdict: unknown, Bound: f.bound}
	var ok, peered bool
	if r.Value, ok = f.value.read(m); !ok {
		return r
	}
	if f.peer.isNone() {
		r.Verdict = informs
		return r
	}
	if r.Peer, peered = f.peer.read(m); !peered || r.Peer == 0 {
		return r
	}
	r.Ratio = r.Value / r.Peer
	if f.ratio != "" {
		if r.Ratio, ok = m.median(f.ratio); !ok {
			return r
		}
	}
	r.Verdict = f.target.verdict(r.Ratio)
	return r
}

var (
	half   = target{low: 0.5}
	within = target{high: 1}
	flat   = target{low: 0.8, high: 1.2}
	equal  = target{low: 0.99, high: 1.01}
)

const (
	small  = "Apply/devices=0010000/cpu=1"
	medium = "Apply/devices=0100000/cpu=1"
	alone  = "Apply/devices=1000000/cpu=1"
	large  = "Apply/devices=1000000/cpu=2"
	few    = "Epoch/devices=000010"
	some   = "Epoch/devices=001000"
	many   = "Epoch/devices=100000"
	proven = "Proven"
	proof  = "Proof"
)

var sections = []section{
	{
		name:    "start",
		runs:    []run{{"./cmd/cairn", "^BenchmarkStart$", "10x", 3}},
		figures: startFigures(),
	},
	{
		name: "gateway",
		runs: []run{{"./gateway", "^BenchmarkCrowd$", "1x", 2}},
		figures: []figure{
			{name: "a gateway's memory of 100,000 devices that offer what it sells", unit: "MiB", value: metric("Crowd MiB-100000"), beside: "of 1,000",
				peer: metric("Crowd MiB-1000"), target: target{high: 1.2}, bound: "it remembers asks and lines of 1,024 devices, drawn by chance"},
		},
	},
	{
		name: "intake",
		runs: []run{
			{"./verifier", "^BenchmarkVerify$", "2x", 3},
			{"./verifier", "^BenchmarkIntake$/^Submit[18]$", "1x", 3},
		},
		figures: []figure{
			{name: "intake end to end, 1 envelope a message", unit: "/s·core", value: metric("Intake/Submit1 envelopes/s/core"), beside: "curve25519-voi, batches of 1,024",
				peer: metric("Intake/Submit1 raw/s"), ratio: "Intake/Submit1 ratio", target: half, bound: "one ack to sign for each author and moment; bus, decoding, log and index"},
			{name: "intake end to end, 8 a message", unit: "/s·core", value: metric("Intake/Submit8 envelopes/s/core"), beside: "the same",
				peer: metric("Intake/Submit8 raw/s"), ratio: "Intake/Submit8 ratio", target: half, bound: "the same, shared by 8"},
			{name: "intake: checking signatures alone", unit: "/s·core", value: metric("Verify envelopes/s"), beside: "the same",
				peer: metric("Verify raw/s"), ratio: "Verify ratio", target: target{low: 0.85}, bound: "what is signed is put together for each envelope"},
		},
	},
	{
		name: "tally",
		runs: []run{
			{"./core/tally", "^BenchmarkApply$/^devices=1000000$/^cpu=2$", "2x", 1},
			{"./core/tally", "^BenchmarkApply$/^devices=0010000$/^cpu=1$", "50x", 2},
			{"./core/tally", "^BenchmarkApply$/^devices=0100000$/^cpu=1$", "4x", 2},
			{"./core/tally", "^BenchmarkApply$/^devices=1000000$/^cpu=1$", "3x", 1},
			{"./core/tally", "^BenchmarkApply$/^devices=0010000$/^cpu=1$", "50x", 1},
			{"./core/tally", "^BenchmarkApply$/^devices=0100000$/^cpu=1$", "4x", 1},
			{"./core/tally", "^BenchmarkApply$/^devices=1000000$/^cpu=1$", "3x", 1},
		},
		figures: []figure{
			{name: "10⁶ devices, 10⁶ receipts: processor time, all cores", unit: "s", value: scaled(large+" cpu-ns/device", 1e-3), beside: "limit", peer: constant(15), target: within,
				bound: "memory: a million records each of devices, sessions, accounts and keys"},
			{name: "the same: on the clock, 2 cores", unit: "s", value: scaled(large+" ns/op", 1e-9), beside: "limit; counts only on an idle machine", peer: constant(15)},
			{name: "the same: memory", unit: "MiB", value: metric(large + " MiB"), beside: "limit", peer: constant(3 << 10), target: within, bound: "two states at once, and the batch"},
			{name: "cost of a device at 10⁵", unit: "ns", value: metric(medium + " cpu-ns/device"), beside: "at 10⁴, one processor", peer: metric(small + " cpu-ns/device"), target: flat},
			{name: "cost of a device at 10⁶", unit: "ns", value: metric(alone + " cpu-ns/device"), beside: "at 10⁴, one processor", peer: metric(small + " cpu-ns/device"), target: flat,
				bound: "processor caches, and the garbage collector near its limit of memory"},
		},
	},
	{
		name: "chain",
		runs: []run{
			{"./chain/client", "^BenchmarkEpoch$", "3x", 1},
			{"./chain/client", "^BenchmarkClaims$", "4x", 3},
			{"./chain/x/tally/keeper", "^BenchmarkProven$", "0.3s", 5},
		},
		figures: []figure{
			{name: "gas of an epoch, 1,000 devices", unit: "gas", value: metric(some + " gas/epoch"), beside: "10 devices", peer: metric(few + " gas/epoch"), target: equal, bound: "numbers with more digits take a byte more"},
			{name: "gas of an epoch, 100,000 devices", unit: "gas", value: metric(many + " gas/epoch"), beside: "10 devices", peer: metric(few + " gas/epoch"), target: equal},
			{name: "bytes of its transactions, 1,000 devices", unit: "B", value: metric(some + " tx-bytes/epoch"), beside: "10 devices", peer: metric(few + " tx-bytes/epoch"), target: equal},
			{name: "bytes of its transactions, 100,000 devices", unit: "B", value: metric(many + " tx-bytes/epoch"), beside: "10 devices", peer: metric(few + " tx-bytes/epoch"), target: equal},
			{name: "bytes written to the state, 1,000 devices", unit: "B", value: metric(some + " state-bytes/epoch"), beside: "10 devices", peer: metric(few + " state-bytes/epoch"), target: equal},
			{name: "bytes written to the state, 100,000 devices", unit: "B", value: metric(many + " state-bytes/epoch"), beside: "10 devices", peer: metric(few + " state-bytes/epoch"), target: equal},
			{name: "claims, 200 a transaction", unit: "/s", value: metric("Claims claims/s"), beside: "bank sends, same chain", peer: metric("Claims sends/s"), ratio: "Claims ratio", target: target{low: 2},
				bound: "application alone, without consensus"},
			{name: "one claim's proof at 10⁶ devices", unit: "B", value: metric(proven + " bytes/proof"), beside: "limit", peer: constant(1024), target: within},
			{name: "checking it", unit: "µs", value: scaled(proven+" ns/op", 1e-3), beside: "limit", peer: constant(50), target: within},
		},
	},
	{
		name:    "store",
		runs:    []run{{"./network", "^BenchmarkStore$", "3x", 1}, {"./service/storage/provider", "^BenchmarkSmallPut$", "400x", 3}, {"./service/storage", "^BenchmarkProof$", "0.3s", 5}},
		figures: slices.Concat(storeFigures("on disk"), storeFigures("in memory"), smallFigures, proofFigures),
	},
	{
		name: "energy",
		runs: []run{
			{"./service/energy", "^BenchmarkClear$", "0.3s", 5},
			{"./service/energy", "^BenchmarkMatch$/^orders=1000000$", "0.3s", 5},
			{"./service/energy", "^BenchmarkClearQuadratic$", "5x", 5},
			{"./service/energy", "^BenchmarkHour$", "0.3s", 5},
			{"./service/energy", "^BenchmarkCross$/^10000$", "3x", 3},
			{"./service/energy", "^BenchmarkPeers$/^homes=010000$/^day$", "5x", 3},
			{"./service/energy", "^BenchmarkPeers$/^homes=100000$/^day$", "1x", 3},
		},
		figures: []figure{
			{name: "clear 10,000 orders: processor time", unit: "ms", value: scaled("Clear/orders=0010000 cpu-ns/order", 0.01), beside: "limit", peer: constant(5), target: within},
			{name: "the same, 100,000", unit: "ms", value: scaled("Clear/orders=0100000 cpu-ns/order", 0.1), beside: "limit", peer: constant(20), target: within},
			{name: "the same, 1,000,000", unit: "ms", value: scaled("Clear/orders=1000000 cpu-ns/order", 1), beside: "limit", peer: constant(150), target: within,
				bound: "memory: 48 bytes an order are read twice"},
			{name: "1,000,000 at two prices, half of them at the margin", unit: "ms", value: scaled("Clear/tied=1000000 cpu-ns/order", 1), beside: "the same limit", peer: constant(150), target: within,
				bound: "one SHA-256 for each order at the margin"},
			{name: "pairing buyers and sellers of 1,000,000 orders", unit: "ms", value: scaled("Match/orders=1000000 cpu-ns/order", 1), bound: "sorting IDs by digits, then reading fills in that order"},
			{name: "orders cleared, 4,000 a book", unit: "/s", value: metric("ClearQuadratic orders/s"), beside: "quadratic pay-as-clear", peer: metric("ClearQuadratic peer-orders/s"),
				ratio: "ClearQuadratic ratio", target: target{low: 100}},
			{name: "hours of a home judged", unit: "/s·core", value: metric("Hour device-hours/s"), beside: "limit", peer: constant(50_000), target: target{low: 1},
				bound: "reading the line and the envelope, the sun at nine moments"},
			{name: "a home's line in the state", unit: "B", value: metric("Hour bytes/line"), beside: "limit", peer: constant(1024), target: within},
			{name: "evidence of a quarter hour, four to an envelope", unit: "B", value: metric("Hour bytes/quarter"), beside: "limit", peer: constant(120), target: within,
				bound: "an envelope's signature, key and hashes"},
			{name: "a home's part of crossing 10,000", unit: "µs", value: scaled("Cross/10000 ns/device", 1e-3), bound: "reading and writing lines"},
			{name: "its part of one neighbourhood of 100,000 whose days end in 96 quarter hours", unit: "µs", value: scaled("Peers/homes=100000/day cpu-ns/home", 1e-3), beside: "of one of 10,000",
				peer: scaled("Peers/homes=010000/day cpu-ns/home", 1e-3), target: target{high: 2}, bound: "memory: sorting, and lines that do not fit the processor's caches"},
		},
	},
	{
		name: "compute",
		runs: []run{
			{"./service/compute/mac", "^BenchmarkRound$/^1024$", "3x", 5},
			{"./service/compute/mac", "^BenchmarkRecompute$", "2x", 3},
			{"./service/compute/mac", "^BenchmarkMix$", "5x", 5},
			{"./service/compute/guest", "^BenchmarkFuel$", "2x", 3},
			{"./service/compute/guest", "^BenchmarkStart$", "200x", 3},
			{"./service/compute/provider", "^BenchmarkContainer$", "20x", 3},
			{"./service/compute/oci", "^BenchmarkCPU$", "1x", 5},
			{"./service/compute/provider", "^BenchmarkModel$", "300x", 3},
			{"./service/compute/customer/match", "^BenchmarkFind$", "1s", 3},
			{"./network", "^BenchmarkJob$", "300x", 1},
			{"./service/compute/provider", "^BenchmarkCheck$", "2x", 3},
		},
		figures: []figure{
			{name: "looking into a product of order 1,024: processor time", unit: "ms", value: metric("Round/1024 verify-cpu-ms"), beside: "computing it",
				peer: metric("Round/1024 prove-cpu-ms"), ratio: "Round/1024 verify/prove", target: target{high: 1. / 80},
				bound: "making one factor's rows, and hashing sixteen"},
			{name: "live checks, of the time of a slot", unit: "%", value: metric("Check duty-%"), beside: "limit", peer: constant(0.1), target: within,
				bound: "two seconds, every six hours on average"},
			{name: "rounds of a processor in one check, in a guest", unit: "", value: metric("Check rounds"), beside: "the least that counts", peer: constant(4), target: target{low: 1}},
			{name: "multiplications of int8, by portable code", unit: "G/s·core", value: metric("Round/1024 GMAC/cpu-s"), bound: "one multiplication of 64 bits for each two"},
			{name: "recomputing a row of order 8,192, of a fault", unit: "ms", value: scaled("Recompute ns/op", 1e-6), bound: "making 64 MiB of rows"},
			{name: "six guests with fuel: processor time", unit: "ms", value: metric("Fuel metered-ms"), beside: "without", peer: metric("Fuel plain-ms"), ratio: "Fuel ratio", target: target{high: 1.5},
				bound: "a subtraction, a store and a branch for each run of instructions; two more for a call"},
			{name: "the same, in V8", unit: "", value: metric("Fuel v8-ratio"), bound: "the same"},
			{name: "the same, beside V8 without fuel", unit: "", value: metric("Fuel beside-v8"), bound: "V8 compiles a second time, for what runs long"},
			{name: "fuel", unit: "10⁹/s·core", value: metric("Fuel Gfuel/s")},
			{name: "a job handed to a device's executor, to its first output: p50", unit: "ms", value: metric("Start p50-ms"), beside: "limit", peer: constant(10), target: within,
				bound: "reading the module and its code; closing the child"},
			{name: "the same, p99", unit: "ms", value: metric("Start p99-ms"), beside: "limit; counts only on an idle machine", peer: constant(50), target: within},
			{name: "the same, p50", unit: "ms", value: metric("Start p50-ms"), beside: "starting a program that does nothing", peer: metric("Start bare-p50-ms")},
			{name: "the same, p99", unit: "ms", value: metric("Start p99-ms"), beside: "the same", peer: metric("Start bare-p99-ms")},
			{name: "what gateway and device add to a model's first part, warm: p50", unit: "ms", value: metric("Model added-p50-ms"), beside: "limit", peer: constant(2), target: within,
				bound: "four hops on one machine, and two readings of JSON"},
			{name: "from a request to the first part of its answer, through the gateway: p50", unit: "ms", value: metric("Model p50-ms"), beside: "straight from the server",
				peer: metric("Model direct-p50-ms")},
			{name: "what they add, p99", unit: "ms", value: metric("Model added-p99-ms"), bound: "where an account owes as much as it may, two journals on disk"},
			{name: "a job sent to a gateway's API, to its first output: p50", unit: "ms", value: metric("Job named-p50-ms"), beside: "limit; counts only on an idle machine", peer: constant(10), target: within,
				bound: "four writes to two journals' disk, reading the module and its code, and closing the child"},
			{name: "the same, p99", unit: "ms", value: metric("Job named-p99-ms"), beside: "the same", peer: constant(50), target: within},
			{name: "the same, p50", unit: "ms", value: metric("Job named-p50-ms"), beside: "starting a program that writes a byte", peer: metric("Job bare-p50-ms")},
			{name: "the same, p99", unit: "ms", value: metric("Job named-p99-ms"), beside: "the same", peer: metric("Job bare-p99-ms")},
			{name: "the same, with the program in the request: p50", unit: "ms", value: metric("Job whole-p50-ms"), beside: "limit; counts only on an idle machine", peer: constant(10), target: within},
			{name: "jobs matched among 10,000 asks of different prices", unit: "/s·core", value: metric("Find/prices_differ jobs/s"), beside: "limit", peer: constant(100_000), target: target{low: 1}},
			{name: "the same, all asks alike", unit: "/s·core", value: metric("Find/all_alike jobs/s"), beside: "limit", peer: constant(100_000), target: target{low: 1},
				bound: "a hash for each of 16 equals"},
			{name: "orders matched, signed and answered over the bus, all cores", unit: "/s", value: metric("Job orders/s"), beside: "limit", peer: constant(5000), target: target{low: 1},
				bound: "signing and checking two statements of an order and its request, and NATS, all on these cores"},
			{name: "a device that stops, to another one having its job", unit: "s", value: metric("Job rematch-s"), beside: "limit", peer: constant(5), target: within, bound: "how long it may be silent"},
			{name: "a container submitted, whose image is there, to its first output: p50", unit: "ms", value: metric("Container p50-ms"), beside: "runc alone",
				peer: metric("Container bare-p50-ms"), ratio: "Container ratio", target: target{high: 2.5}, bound: "runc; a user namespace, cgroups and seccomp; starting its keeper"},
			{name: "work of stress-ng in a container: processor time", unit: "s", value: metric("CPU cpu-s"), beside: "outside", peer: metric("CPU bare-cpu-s"),
				ratio: "CPU ratio", target: target{high: 1.02}, bound: "nothing is in between"},
			{name: "a round of a processor, natively", unit: "ms", value: scaled("Mix ns/op", 1e-6), bound: "one read of 2 MiB and one multiplication after the other"},
		},
	},
}

// startFigures are what a command costs that only explains.
func startFigures() (list []figure) {
	for _, c := range []struct{ line, name string }{
		{"cairn --version", "version"}, {"cairn --help", "help"}, {"cairn store put --help", "command"}, {"completing `cairn store `", "complete"},
		{"cairn query bank --help", "module"},
	} {
		f := figure{name: c.line + ": processor time", unit: "ms", value: metric("Start/" + c.name + " cpu-ms")}
		limit, peer := f, f
		limit.beside, limit.peer, limit.target = "limit", constant(100), within
		peer.name, peer.beside, peer.peer, peer.ratio = "the same", "a Go program that does nothing", metric("Start/"+c.name+" empty-cpu-ms"), "Start/"+c.name+" ratio"
		limit.bound = "the tables that the chain's packages make as they are loaded, and reading the program in"
		list = append(list, limit, peer)
	}
	return list
}

// storeFigures are those of a place where shards are kept.
func storeFigures(place string) []figure {
	at := "Store/" + place[3:] + " "
	list := []figure{}
	for _, op := range []struct{ name, bound, bare string }{
		{"put", "gateway and all 8 devices share these cores: beside the pipeline, two bytes for each of the object are encrypted for TLS, copied through the kernel, decrypted, hashed again and written",
			"TLS, kernel and disk: no store of eight processes on this machine is faster"},
		{"get", "the same cores again: TLS on both sides, copies through the kernel, and up to two spare shards for four, which are asked for at once", "TLS and kernel"},
	} {
		list = append(list,
			figure{name: op.name + ", shards " + place, unit: "MiB/s", value: metric(at + op.name + "-MiB/s"), beside: "pipeline in memory, all cores", peer: metric(at + op.name + "-limit-MiB/s"),
				ratio: at + op.name + "-ratio", target: half, bound: op.bound},
			figure{name: "the same", unit: "MiB/s", value: metric(at + op.name + "-MiB/s"), beside: "pipeline and 8 bare devices", peer: metric(at + op.name + "-bare-MiB/s"),
				ratio: at + op.name + "-bare-ratio", bound: "HTTP/2, commits, proofs and payments, and the network's own work"},
			figure{name: "the same, bare devices", unit: "MiB/s·core", value: metric(at + op.name + "-core-bare-MiB/s"), beside: "pipeline in memory, one core", peer: metric(at + op.name + "-core-limit-MiB/s"), bound: op.bare},
		)
	}
	return append(list, figure{name: "write and fsync " + place, unit: "MiB/s", value: metric(at + "disk-MiB/s"), bound: "a put writes twice its bytes"})
}

var smallFigures = []figure{
	{name: "put of 10 KiB, 8 at a time: the gateway's processor time", unit: "ms", value: metric("SmallPut gateway-ms/put"), beside: "limit", peer: constant(20), target: within,
		bound: "eight requests to stage, and a share of eight commits, their fsyncs and signatures"},
	{name: "the same: all eight devices'", unit: "ms", value: metric("SmallPut devices-ms/put"), bound: "the same from the other side"},
}

var proofFigures = []figure{
	{name: "storage proof of 1 TiB", unit: "B", value: metric(proof + " bytes/proof"), beside: "limit", peer: constant(2300), target: within, bound: "1 KiB of it is the chunk"},
	{name: "checking it", unit: "µs", value: scaled(proof+" ns/op", 1e-3), beside: "limit", peer: constant(50), target: within},
}
