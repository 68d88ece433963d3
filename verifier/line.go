package verifier

import (
	"context"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// answerLine tells a device its line after one of the region's tallies.
func (v *Verifier) answerLine(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.LineQuery](raw, v.chain)
	if err != nil || q.Region != v.cfg.Region {
		return nil
	}
	p, err := v.standing(ctx)
	if err != nil {
		return nil
	}
	for _, h := range p.headers {
		if h.Epoch != q.Tallied {
			continue
		}
		st := v.shown(h)
		if st == nil {
			return nil
		}
		return bus.Seal(v.cfg.Key, v.line(st, h, q.Device))
	}
	return nil
}

func (v *Verifier) line(st *tally.State, h *ledger.Header, device types.Key) *bus.Line {
	out := &bus.Line{Chain: v.chain, Region: v.cfg.Region, Device: device, Tallied: h.Epoch}
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
			v.made.put(state)
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}
