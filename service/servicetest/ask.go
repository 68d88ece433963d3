package servicetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// What a meter may be asked over the bus.
const (
	MeterLook = "look" // the body is an epoch; a part with the nonce that the body ends with comes at once, the register once the epoch was read out
	MeterTake = "take" // the body is how many ticks of its stock a payer wants; what is left comes back
)

// MeterLog is a larger thing that every meter holds, for payers.
func MeterLog(device types.Key) []byte { return bytes.Repeat(device[:], 20_000) }

// stock is what a meter has to give away.
type stock struct {
	mu   sync.Mutex
	host role.Host // nil until it is on offer
	left uint64
}

// offer offers the whole stock.
func (s *stock) offer(ctx context.Context, host role.Host, most uint64) error {
	if _, err := host.Offer(ctx, receipt.Ask{Class: MeterStock, Capacity: types.U64(most), Until: 1 << 40}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host, s.left = host, most
	host.Beat(MeterStock, types.U64(s.left), false)
	return nil
}

// take takes from the stock.
func (s *stock) take(n uint64) (left uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host == nil || n > s.left {
		return 0, types.Refuse(MeterSoldOut, "meter: %d ticks of %d", n, s.left)
	}
	s.left -= n
	s.host.Beat(MeterStock, types.U64(s.left), false)
	return s.left, nil
}

// requests are what a meter may be asked.
func (m *meterRun) requests() map[string]role.RequestHandler {
	return map[string]role.RequestHandler{
		MeterLook: {From: role.Verifiers | role.Anybody, Serve: func(ctx context.Context, _ role.Host, r *role.Request) ([]byte, error) {
			if len(r.Body) != askSize {
				return nil, types.Refuse(types.BadEncoding, "meter: look with %d bytes", len(r.Body))
			}
			if err := r.Send(r.Body[8:]); err != nil {
				return nil, err
			}
			register, ok := m.shown.at(ctx, types.Epoch(binary.BigEndian.Uint64(r.Body)))
			if !ok {
				return nil, types.Refuse(types.WrongEpoch, "meter: the register was read out later already")
			}
			return binary.BigEndian.AppendUint64(nil, register), nil
		}},
		MeterTake: {From: role.Payers, Serve: func(_ context.Context, _ role.Host, r *role.Request) ([]byte, error) {
			if len(r.Body) != 8 {
				return nil, types.Refuse(types.BadEncoding, "meter: take with %d bytes", len(r.Body))
			}
			left, err := m.stock.take(binary.BigEndian.Uint64(r.Body))
			return binary.BigEndian.AppendUint64(nil, left), err
		}},
	}
}

// blobs are what a meter holds for payers.
func (m *meterRun) blobs() *role.Blobs {
	return &role.Blobs{From: role.Payers, Each: 1 << 20, Open: func(_ context.Context, host role.Host, _ types.Key, hash types.Hash) (*role.Blob, error) {
		log := MeterLog(host.Key())
		if types.Sum(log) != hash {
			return nil, types.Refuse(types.UnknownBlob, "meter: blob %v", hash)
		}
		return &role.Blob{ReaderAt: bytes.NewReader(log), Size: int64(len(log))}, nil
	}}
}

// ask looks at a register over the bus.
func (MeterWitness) ask(ctx context.Context, host role.WitnessHost, e types.Epoch, device types.Key, nonce []byte) (register uint64, err error) {
	heard := false
	answer, err := host.Ask(ctx, role.Question{Device: device, Kind: MeterLook, Body: append(binary.BigEndian.AppendUint64(nil, uint64(e)), nonce...),
		Each: func(p role.Part) { heard = heard || bytes.Equal(p.Body, nonce) }})
	if err != nil {
		return 0, err
	}
	if !heard || len(answer) != 8 {
		return 0, fmt.Errorf("it said %x, and the nonce: %v", answer, heard)
	}
	return binary.BigEndian.Uint64(answer), nil
}
