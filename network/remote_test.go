package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/street"
)

// asNode makes the test binary cairn-node.
const asNode = "CAIRN_TEST_NODE"

// cable is the bus as one node sees it. It carries everything, until it is cut.
type cable struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// newCable leads to the address of a bus.
func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{Listener: l, to: to, conns: map[net.Conn]bool{}}
	go c.serve()
	t.Cleanup(func() {
		l.Close()
		c.set(true)
	})
	return c
}

func (c *cable) serve() {
	for {
		near, err := c.Accept()
		if err != nil {
			return
		}
		go c.carry(near)
	}
}

func (c *cable) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	if !c.hold(near, far) {
		return
	}
	go func() {
		defer near.Close()
		io.Copy(near, far)
	}()
	io.Copy(far, near)
}

// hold notes connections that end with the cable; false if it is cut already.
func (c *cable) hold(list ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range list {
		c.conns[conn] = true
	}
	return !c.cut
}

// set cuts the cable, or mends it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for conn := range c.conns {
		conn.Close()
		delete(c.conns, conn)
	}
}

// remote is a home whose node is a process of its own: the program that owners run, with meters that it reads
// over Modbus.
type remote struct {
	t      *testing.T
	home   string
	cable  *cable
	device types.Key
	cmd    *exec.Cmd
}

// newRemote sets a home up in a place where it is morning, and has its owner, the network's customer, register it.
func newRemote(t *testing.T, n *Network) *remote {
	t.Helper()
	raw, err := n.rulesOf(t.Context(), types.Energy)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := energy.DecodeRules(raw)
	if err != nil {
		t.Fatal(err)
	}
	place := morning(rules.Clock.At(uint64(time.Now().Unix())))
	s, err := street.Open(street.Config{
		Homes: street.Profiles(1), Cell: place, Altitude: 4, Seed: 77, Begin: int64(rules.Clock.At(uint64(time.Now().Unix()))), Hold: true,
		Now: func() int64 { return int64(rules.Clock.AtMilli(uint64(time.Now().UnixMilli()))) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r := &remote{t: t, home: t.TempDir(), cable: newCable(t, n.bus.NATS().Addr().String())}
	t.Cleanup(r.complain)
	owner, err := n.Ledger().Lookup(CustomerName)
	if err != nil {
		t.Fatal(err)
	}
	r.register(n, owner, r.init(n, owner, place, s.Homes()[0].Settings()))
	return r
}

// morning is a place in Europe's latitude where the sun has just risen, on the day in June that a network on
// one machine begins with.
func morning(unix uint64) types.Cell {
	hour := float64(unix%86400) / 3600
	lat, lon := 47*math.Pi/180, math.Remainder(6-hour, 24)*math.Pi/12
	unit := func(x float64) int64 { return int64(math.Round(x * types.One)) }
	return types.CellAt(types.Vector{unit(math.Cos(lat) * math.Cos(lon)), unit(math.Cos(lat) * math.Sin(lon)), unit(math.Sin(lat))}, 7)
}

// program runs one command line of cairn-node. What it logs is added to the home's log.
func (r *remote) program(args ...string) *exec.Cmd {
	r.t.Helper()
	log, err := os.OpenFile(filepath.Join(r.home, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { log.Close() })
	cmd := exec.Command(os.Args[0], append(args, "--home", r.home)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), asNode+"=1"), log
	return cmd
}

// init joins the network by its manifest, but for the bus, which the cable leads to. It returns the claim code.
func (r *remote) init(n *Network, owner types.Account, place types.Cell, offer json.RawMessage) string {
	r.t.Helper()
	joins, err := manifest.Load(n.cfg.Home)
	if err != nil {
		r.t.Fatal(err)
	}
	joins.Manifest.Buses = []string{"nats://" + r.cable.Addr().String()}
	if joins, err = joins.Manifest.Sign(types.NewPrivateKey([32]byte{1})); err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.t.TempDir(), "manifest.json")
	if err := os.WriteFile(path, joins.Encode(), 0o600); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.program("init", "--network", path, "--owner", owner.String(), "--cell", place.String(), "--offer", fmt.Sprintf("energy=%s", offer),
		"--yes", "--listen", "127.0.0.1:0", "--json").Output()
	var claim struct {
		Device types.Key `json:"device"`
		Code   string    `json:"code"`
	}
	if err != nil || json.Unmarshal(out, &claim) != nil {
		r.t.Fatalf("init: %v: %s", err, out)
	}
	r.device = claim.Device
	return claim.Code
}

// register does what `cairn device register` does.
func (r *remote) register(n *Network, owner types.Account, code string) {
	r.t.Helper()
	statement, err := evidence.ParseCode(code, n.ChainID())
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := n.Ledger().Submit(r.t.Context(), owner, ledger.Register{Statement: *statement}); err != nil {
		r.t.Fatal(err)
	}
}

// start runs the node.
func (r *remote) start() {
	r.t.Helper()
	r.cmd = r.program("run", "--log", "debug")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd := r.cmd
	r.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
}

// kill ends the node without warning.
func (r *remote) kill() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	r.cmd.Wait()
	if s, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		r.t.Fatalf("the node ended before it was killed: %v", r.cmd.ProcessState)
	}
}

// stop ends the node as its owner does.
func (r *remote) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		r.t.Errorf("the node was stopped: %v", err)
	}
}

// stamped is the line with which the node says that a record is in its journal.
var stamped = regexp.MustCompile(`msg="energy: stamped".* interval=([0-9]+) wh="\[([0-9 ]+)\]"`)

// said returns the registers of each record that the node said is in its journal, and the last one's interval.
func (r *remote) said() (all map[uint64][energy.Registers]uint64, last uint64) {
	r.t.Helper()
	all = map[uint64][energy.Registers]uint64{}
	for line := range bytes.Lines(r.log()) {
		m := stamped.FindSubmatch(line)
		if m == nil || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		k, err := strconv.ParseUint(string(m[1]), 10, 64)
		var wh [energy.Registers]uint64
		for i, text := range strings.Fields(string(m[2])) {
			if err == nil && i < len(wh) {
				wh[i], err = strconv.ParseUint(text, 10, 64)
			}
		}
		if _, twice := all[k]; twice || err != nil {
			r.t.Fatalf("interval %d is stamped twice, or %v: %s", k, err, line)
		}
		all[k], last = wh, max(last, k)
	}
	return all, last
}

// stamps waits until the node has stamped another record.
func (r *remote) stamps() {
	r.t.Helper()
	_, before := r.said()
	until(r.t, 2*time.Minute, "the home stamps", func() bool {
		_, last := r.said()
		return last > before
	})
}

// kept returns the records that are in the journal, of a node that does not run.
func (r *remote) kept() map[uint64][energy.Registers]uint64 {
	r.t.Helper()
	db, err := bbolt.Open(filepath.Join(r.home, "providers", types.Energy.String(), "journal.db"), 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Minute})
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	all := map[uint64][energy.Registers]uint64{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("records")).ForEach(func(_, raw []byte) error {
			var e struct {
				Record energy.Record `cbor:"1,keyasint"`
			}
			if err := cbor.Unmarshal(raw, &e); err != nil {
				return err
			}
			all[e.Record.K] = e.Record.Wh
			return nil
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// status returns what the node says of itself, nil if nothing answers.
func (r *remote) status() *node.Status {
	address, err := node.StatusAddress(r.home)
	if err != nil {
		return nil
	}
	res, err := http.Get("http://" + address + "/status")
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	s := new(node.Status)
	if json.NewDecoder(res.Body).Decode(s) != nil || s.Device != r.device {
		return nil
	}
	return s
}

func (r *remote) log() []byte {
	raw, err := os.ReadFile(filepath.Join(r.home, "log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// complain shows, if the test failed, what the node warned of.
func (r *remote) complain() {
	if !r.t.Failed() {
		return
	}
	var lines []string
	for line := range bytes.Lines(r.log()) {
		if !bytes.Contains(line, []byte("level=DEBUG")) || stamped.Match(line) {
			lines = append(lines, string(line))
		}
	}
	r.t.Logf("the node's log:\n%s", strings.Join(lines[max(0, len(lines)-80):], ""))
}
