package line

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// KindTest is the kind of request (role.Question) with which a challenger calls a device to its test: a Summons, which
// is answered with nothing when the device has joined.
const KindTest = "bandwidth"

// Summons is what a challenger tells a device.
type Summons struct {
	_       struct{} `cbor:",toarray"`
	Start   pob.Start
	Test    pob.ID
	Address string // of the challenger's socket: "192.0.2.7:7440"
	Packets uint32
}

const maxSummons = 512

// Encode returns the encoding of s.
func (s *Summons) Encode() []byte { return types.Encode(s) }

// DecodeSummons reads a summons, and checks its form.
func DecodeSummons(raw []byte) (*Summons, netip.AddrPort, error) {
	s := new(Summons)
	if err := types.DecodeLimit(raw, s, maxSummons); err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("wireless: summons: %w", err)
	}
	at, err := netip.ParseAddrPort(s.Address)
	if err != nil || at.Port() == 0 || at.Addr().Zone() != "" || !s.Start.Prefix.Valid() || s.Packets == 0 {
		return nil, at, types.Refuse(types.BadEncoding, "wireless: summons from %.80q for %v, %d packets", s.Address, s.Start.Prefix, s.Packets)
	}
	return s, at, nil
}

// DeviceConfig is what a device knows of itself.
type DeviceConfig struct {
	// Rules are those of bandwidth checks in force, as of a notice.
	Rules func(n *role.Notice) pob.Rules
	// Claim returns the bit/s that the device has handed in; 0 for nothing, and then it takes part in no test.
	Claim func() uint64
	// Private are the addresses beyond the public internet at which challengers may be (role.Reachable).
	Private []netip.Prefix
}

// Device takes part in the tests of one device.
type Device struct {
	cfg      DeviceConfig
	host     role.Host
	receiver *Receiver

	mu     sync.Mutex // guards what follows
	notice role.Notice
	joined map[joinedAs]bool // in the present epoch
}

type joinedAs struct {
	challenger types.Key
	half       uint8
}

// NewDevice returns what takes part in a device's tests, on a socket that Run closes.
func NewDevice(host role.Host, conn Conn, cfg DeviceConfig) *Device {
	return &Device{cfg: cfg, host: host, receiver: NewReceiver(conn, ReceiverConfig{Chain: host.Chain(), Sign: host.Sign})}
}

// Run takes packets until ctx ends.
func (d *Device) Run(ctx context.Context) error { return d.receiver.Run(ctx) }

// Heard takes a notice.
func (d *Device) Heard(n role.Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n.Epoch != d.notice.Epoch {
		d.joined = map[joinedAs]bool{}
	}
	d.notice = n
}

// Serve answers a challenger (role.RequestHandler, from role.Verifiers): it joins the test, and answers when the
// challenger has the reply. Who was not drawn, calls in an epoch that tests nothing there, a second time for a half, with
// more packets than the claim gives, or from where nobody on the internet is, is refused before anything is sent.
func (d *Device) Serve(ctx context.Context, r *role.Request) ([]byte, error) {
	s, at, err := DecodeSummons(r.Body)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	n := d.notice
	d.mu.Unlock()
	rules, claim := d.cfg.Rules(&n), d.cfg.Claim()
	if s.Start.Epoch != n.Epoch || n.Seed.IsZero() || s.Start.Half >= pob.Halves || claim == 0 || rules.Drawn(n.Seed, s.Start.Prefix) == pob.NoDraw {
		return nil, types.Refuse(pob.NotDrawn, "wireless: a test of %v in epoch %d, it is %d", s.Start.Prefix, s.Start.Epoch, n.Epoch)
	}
	panel, err := d.host.Panel(ctx, pob.ForTest)
	if err != nil {
		return nil, err
	}
	switch {
	case !slices.Contains(panel, r.From):
		return nil, types.Refuse(pob.NotDrawn, "wireless: %v does not challenge this device in epoch %d", r.From, n.Epoch)
	case s.Packets > rules.Packets(claim, len(panel)):
		return nil, types.Refuse(pob.BadStart, "wireless: %d packets for a claim of %d bit/s", s.Packets, claim)
	case !role.Reachable(at.Addr(), d.cfg.Private):
		return nil, types.Refuse(role.PrivateAddress, "a challenger says it is at %s", at.Addr())
	case !d.begin(n.Epoch, joinedAs{r.From, s.Start.Half}):
		return nil, types.Refuse(pob.Duplicate, "wireless: %v has called half %d of epoch %d", r.From, s.Start.Half, n.Epoch)
	}
	ms := func(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
	came, err := d.receiver.Join(ctx, Joining{Test: s.Test, Challenger: r.From, Address: at, Send: ms(rules.Send), Reply: ms(rules.Reply), Packets: s.Packets})
	d.host.Log().Info("wireless: a bandwidth check is over", "challenger", r.From, "packets", came, "of", s.Packets, "err", err)
	return []byte{}, err
}

// begin notes that a challenger calls, and reports whether it is the first time.
func (d *Device) begin(e types.Epoch, j joinedAs) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.notice.Epoch != e || d.joined[j] {
		return false
	}
	d.joined[j] = true
	return true
}
