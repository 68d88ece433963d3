package servicetest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/role"
)

// A look at a register: the witness sends 16 bytes that it made up and the epoch (u64, big endian); the device
// answers, once it has read out that epoch, with the register (u64, big endian) and its signature of all three
// in MeterLook's domain.
const (
	nonceSize = 16
	askSize   = nonceSize + 8
	lookSize  = 8 + len(types.Signature{})
	lookTime  = 5 * time.Second
	maxLooks  = 16 // connections at a time
)

// meterLook is the domain of a look.
var meterLook = MeterCategory.String() + "/look"

// MeterAddress returns where a live ask says that the register is shown.
func MeterAddress(a *receipt.Ask) (address string, err error) {
	if a.Class != MeterLive {
		return "", fmt.Errorf("meter: an ask of class %d", a.Class)
	}
	err = types.Decode(a.Terms, &address)
	return address, err
}

// shown is the register that a device shows.
type shown struct {
	mu       sync.Mutex
	changed  *sync.Cond
	epoch    types.Epoch
	register uint64
}

func newShown() *shown {
	s := &shown{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *shown) set(e types.Epoch, register uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.register = e, register
	s.changed.Broadcast()
}

// at waits until epoch e was read out; false if ctx ends before that.
func (s *shown) at(ctx context.Context, e types.Epoch) (uint64, bool) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.epoch < e && ctx.Err() == nil {
		s.changed.Wait()
	}
	return s.register, s.epoch == e
}

// listen shows the register on a free port, which it offers, until ctx ends.
func (s *shown) listen(ctx context.Context, host role.Host) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l = conns.Limit(l, conns.Limits{Total: 2 * maxLooks, PerAddress: maxLooks}, host.Log())
	context.AfterFunc(ctx, func() { l.Close() })
	ask := receipt.Ask{Class: MeterLive, Terms: types.Encode(l.Addr().String()), Until: 1 << 40}
	if _, err := host.Offer(ctx, ask); err != nil {
		l.Close()
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				s.answer(ctx, host, c)
			}()
		}
	}()
	return nil
}

func (s *shown) answer(ctx context.Context, host role.Host, c net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c.SetDeadline(time.Now().Add(lookTime))
	ask := make([]byte, askSize)
	if _, err := io.ReadFull(c, ask); err != nil {
		return
	}
	register, ok := s.at(ctx, types.Epoch(binary.BigEndian.Uint64(ask[nonceSize:])))
	if !ok {
		return
	}
	out := binary.BigEndian.AppendUint64(nil, register)
	signature := host.Sign(meterLook, slices.Concat(ask, out))
	c.Write(append(out, signature[:]...)) // the witness has gone
}

// MeterWitness is Meter's role at a verifier: in every epoch whose challenges bind, it looks at the registers
// that it was drawn for and reports what it saw. A device that cannot be reached is passed over.
type MeterWitness struct {
	Ask bool // over the bus; else it connects to where the device says that it is
}

// Role returns w as a witness engine runs it.
func (w MeterWitness) Role() role.Witness {
	return role.Witness{Category: MeterCategory, Run: func(ctx context.Context, host role.VerifierHost) error { return w.Run(ctx, host) }}
}

// Run witnesses until ctx ends.
func (w MeterWitness) Run(ctx context.Context, host role.WitnessHost) error {
	var done types.Epoch
	for n := range host.Notices(ctx) {
		if n.Epoch <= done || !n.Challenged || n.Seed.IsZero() {
			continue
		}
		subjects, err := host.Drawn(ctx, MeterSight)
		if err != nil {
			host.Log().Debug("meter: whom to look at is not known", "epoch", n.Epoch, "error", err)
			continue // the next notice tries again
		}
		done = n.Epoch
		var looks sync.WaitGroup
		for _, s := range subjects {
			looks.Go(func() {
				if err := w.look(ctx, host, n.Epoch, s); err != nil && ctx.Err() == nil {
					host.Log().Info("meter: a register was not seen", "device", s.Device.Key, "epoch", n.Epoch, "error", err)
				}
			})
		}
		looks.Wait()
	}
	return nil
}

func (w MeterWitness) look(ctx context.Context, host role.WitnessHost, e types.Epoch, s role.Subject) error {
	if w.Ask {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		nonce := make([]byte, nonceSize)
		rand.Read(nonce)
		register, err := w.ask(ctx, host, e, s.Device.Key, nonce)
		if err != nil {
			return err
		}
		m := MeterRegister{Device: s.Device.Key, Register: register}
		return host.Submit(ctx, MeterSighted, m.Encode())
	}
	i := slices.IndexFunc(s.Asks, func(a *receipt.SignedAsk) bool { return a.Ask.Class == MeterLive })
	if i < 0 {
		return errors.New("it does not say where it is")
	}
	address, err := MeterAddress(&s.Asks[i].Ask)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := host.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(lookTime))
	ask := make([]byte, nonceSize, askSize)
	rand.Read(ask)
	ask = binary.BigEndian.AppendUint64(ask, uint64(e))
	if _, err := c.Write(ask); err != nil {
		return err
	}
	out := make([]byte, lookSize)
	if _, err := io.ReadFull(c, out); err != nil {
		return err
	}
	if !s.Device.Key.Verify(meterLook, host.Chain(), slices.Concat(ask, out[:8]), types.Signature(out[8:])) {
		return types.Refuse(types.BadSignature, "an answer that %v did not sign", s.Device.Key)
	}
	m := MeterRegister{Device: s.Device.Key, Register: binary.BigEndian.Uint64(out)}
	return host.Submit(ctx, MeterSighted, m.Encode())
}

// Strangers is what somebody could do that was not drawn: a Witness's Run that reports, for every device of a
// list, that its register stands at 0.
func Strangers(all func() []types.Key) func(context.Context, role.WitnessHost) error {
	return func(ctx context.Context, host role.WitnessHost) error {
		var done types.Epoch
		for n := range host.Notices(ctx) {
			if n.Epoch <= done || !n.Challenged || n.Seed.IsZero() {
				continue
			}
			done = n.Epoch
			for _, device := range all() {
				m := MeterRegister{Device: device}
				if err := host.Submit(ctx, MeterSighted, m.Encode()); err != nil {
					return err
				}
			}
		}
		return nil
	}
}
