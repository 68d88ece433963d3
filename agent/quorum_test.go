package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/types"
)

const chain = "cairn-test"

// region is verifiers of equal power that answer as a test says.
type region struct {
	Quorum
	keys   []types.PrivateKey
	links  []bus.Bus
	memory *bus.Memory
}

func newRegion(t *testing.T, verifiers int) *region {
	t.Helper()
	roles := new(bustest.Roles)
	r := &region{memory: bus.NewMemory(roles, slog.New(slog.DiscardHandler))}
	dial := func(k types.PrivateKey, role bus.Role) bus.Bus {
		roles.Set(k.Public(), role)
		b, err := r.memory.Dial(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	for i := range verifiers {
		k := bustest.Key(100 + i)
		r.keys = append(r.keys, k)
		r.links = append(r.links, dial(k, bus.RoleVerifier))
		r.Set = append(r.Set, bus.Member{Key: k.Public(), Power: 100})
	}
	slices.SortFunc(r.Set, func(a, b bus.Member) int { return slices.Compare(a.Key[:], b.Key[:]) })
	r.Bus, r.Chain, r.Wait = dial(bustest.Key(1), bus.RoleGateway), chain, 300*time.Millisecond
	return r
}

// answers has verifier i answer queries of a kind.
func (r *region) answers(t *testing.T, i int, kind string, answer func(raw []byte) [][]byte) {
	t.Helper()
	ctx := t.Context()
	err := r.links[i].Subscribe(ctx, bus.QuerySubject(types.Key{}, r.Region, kind), func(m bus.Message) {
		for _, a := range answer(m.Data) {
			_ = r.links[i].Respond(ctx, m, a)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStuffedVotes: a verifier that says one line again and again, in one answer or in several, has said it once.
func TestStuffedVotes(t *testing.T) {
	r := newRegion(t, 4)
	asked := []types.Key{{1}, {2}, {3}, {4}}
	says := func(i int, times int, lines ...bus.PayerLine) {
		r.answers(t, i, bus.QueryPayers, func([]byte) (out [][]byte) {
			for range times {
				out = append(out, bus.Seal(r.keys[i], &bus.Payers{Chain: chain, Epoch: 5, Tallied: 3, Lines: lines}))
			}
			return out
		})
	}
	rich := bus.PayerLine{Key: asked[3], Account: types.Account{1}, Limit: 1 << 40, Balance: 1 << 40, Expiry: 99}
	says(3, 8, rich, rich, rich, rich)
	if lines, err := r.Payers(t.Context(), 5, asked); !errors.Is(err, types.BusUnavailable) || len(lines) != 0 {
		t.Fatalf("one verifier of four makes the agent believe %+v: %v", lines, err)
	}
	var lines []bus.PayerLine
	for _, k := range asked {
		lines = append(lines, bus.PayerLine{Key: k, Account: types.Account{1}, Limit: 7, Expiry: 99})
	}
	for i := range 3 {
		says(i, 1, lines...)
	}
	got, err := r.Payers(t.Context(), 5, asked)
	if err != nil || len(got) != len(asked) {
		t.Fatalf("%d lines: %v", len(got), err)
	}
	for _, line := range got {
		if line.Limit != 7 {
			t.Fatalf("what three of four say is not believed: %+v", line)
		}
	}
}

// TestReplayedPayers: answers that honest verifiers gave to somebody in an earlier epoch, or in another region,
// say nothing now, and do not use up the voice.
func TestReplayedPayers(t *testing.T) {
	asked := []types.Key{{1}}
	for what, old := range map[string]bus.Payers{
		"an earlier epoch": {Chain: chain, Epoch: 3, Tallied: 1},
		"another region":   {Chain: chain, Epoch: 5, Tallied: 3, Region: 1},
	} {
		r := newRegion(t, 4)
		old.Lines = []bus.PayerLine{{Key: asked[0], Account: types.Account{1}, Limit: 1000, Balance: 1000, Expiry: 99}}
		now := &bus.Payers{Chain: chain, Epoch: 5, Tallied: 3, Lines: []bus.PayerLine{{Key: asked[0], Account: types.Account{1}, Limit: 7, Expiry: 99}}}
		fresh := false
		for i := range 3 {
			r.answers(t, i, bus.QueryPayers, func([]byte) [][]byte {
				out := [][]byte{bus.Seal(r.keys[i], &old)}
				if fresh {
					out = append(out, bus.Seal(r.keys[i], now))
				}
				return out
			})
		}
		if lines, err := r.Payers(t.Context(), 5, asked); err == nil || len(lines) != 0 {
			t.Errorf("%s: the agent believes %+v", what, lines)
		}
		fresh = true
		if lines, err := r.Payers(t.Context(), 5, asked); err != nil || len(lines) != 1 || lines[0].Limit != 7 {
			t.Errorf("%s: what they say now is not believed: %+v, %v", what, lines, err)
		}
	}
}

// TestLine: the line that more than two thirds of power give counts, whatever the others say, and only for what
// was asked.
func TestLine(t *testing.T) {
	r := newRegion(t, 4)
	device := types.Key{9}
	long := make([]byte, bus.MaxInline+1)
	honest := bus.Line{Chain: chain, Device: device, Tallied: 3, Seq: 7, Lines: []bus.CategoryLine{
		{Category: types.Storage, Blob: bus.BlobOf([]byte("state")), State: []byte("state")}, {Category: types.Energy, Blob: bus.BlobOf(long)}}}
	for i := range 4 {
		r.answers(t, i, bus.QueryLine, func([]byte) [][]byte {
			line := honest
			switch i {
			case 0: // a liar
				line.Seq = 99
			case 1: // answers another question first
				line.Tallied = 2
				return [][]byte{bus.Seal(r.keys[i], &line), bus.Seal(r.keys[i], &honest)}
			}
			return [][]byte{bus.Seal(r.keys[i], &line)}
		})
	}
	line, err := r.Line(t.Context(), device, 3, types.Storage) // nobody serves the long state, which is not asked for
	if err != nil || line.Seq != 7 || string(line.Lines[0].State) != "state" {
		t.Fatalf("%+v: %v", line, err)
	}
	if line, err := r.Line(t.Context(), device, 0); err != nil || len(line.Lines) != 0 {
		t.Fatalf("before the first tally: %+v, %v", line, err)
	}
	if line, err := r.Line(t.Context(), device, 4); !errors.Is(err, types.BusUnavailable) {
		t.Fatalf("of a tally that nobody speaks of: %+v, %v", line, err)
	}
	away := r.Quorum
	away.Bus = nil
	if _, err := away.Line(t.Context(), device, 3); !errors.Is(err, types.BusUnavailable) {
		t.Fatalf("without a bus: %v", err)
	}
}

// TestTooFew: two of four verifiers are not enough to say anything, and whoever asks is told so within the time
// that was set.
func TestTooFew(t *testing.T) {
	r := newRegion(t, 4)
	for i := range 2 {
		r.answers(t, i, bus.QueryRefusals, func([]byte) [][]byte {
			return [][]byte{bus.Seal(r.keys[i], &bus.Refusals{Chain: chain, Author: types.Key{1}, Epoch: 3})}
		})
	}
	if got, err := r.Refusals(t.Context(), types.Key{1}, 3); !errors.Is(err, types.BusUnavailable) || got != nil {
		t.Fatalf("%+v: %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Refusals(ctx, types.Key{1}, 3); err == nil {
		t.Fatal("who has gone gets an answer")
	}
}
