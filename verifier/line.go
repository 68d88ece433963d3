package verifier

import (
	"context"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// answerLine tells a device its line after one of the region's tallies.
func (s *query) answerLine(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.LineQuery](raw, s.chain)
	if err != nil || q.Region != s.cfg.Region {
		return nil
	}
	h := s.find(ctx, func(h *ledger.Header) bool { return h.Epoch == q.Tallied })
	if h == nil {
		return nil
	}
	if st, err := s.state(h); err == nil {
		return bus.Seal(s.cfg.Key, s.line(st, h, q.Device))
	}
	return nil
}

func (s *query) line(st *tally.State, h *ledger.Header, device types.Key) *bus.Line {
	out := &bus.Line{Chain: s.chain, Region: s.cfg.Region, Device: device, Tallied: h.Epoch}
	l := st.Line(device)
	if l == nil {
		return out
	}
	out.Seq, out.Last = l.Seq, l.Last
	for _, c := range l.Categories {
		state := st.CategoryLine(device, c)
		if len(state) == 0 {
			continue
		}
		line := bus.CategoryLine{Category: c, Blob: bus.BlobOf(state), State: state}
		if len(state) > bus.MaxInline {
			line.State = nil
			s.made.put(state)
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}
