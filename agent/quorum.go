package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// MaxLine bounds a category's line of a device that Line returns, in bytes.
const MaxLine = 8 << 20

// Quorum asks the verifiers of a region, each weighed by its power. It is a value: it speaks for one moment's set.
//
// What two answers differ in nobody believes: an answer counts once verifiers with more than two thirds of the
// power gave the same one, or at once where it proves itself against a header. Of one verifier only the first
// answer to a question counts. A question that too few answer in time is bus_unavailable.
type Quorum struct {
	Bus    bus.Bus // nil while it is away
	Chain  string
	Region types.Region
	Set    bus.Set       // whose word counts
	Wait   time.Duration // for the answers to one question; 0 stands for three seconds
}

// opener reads a sealed answer: bus.Open of its type.
type opener[T any] func(raw []byte, chain string) (*T, types.Key, error)

// answers counts what verifiers say, one answer each, by power.
type answers struct {
	set   bus.Set
	heard map[types.Key]bool
	power map[types.Hash]uint64 // by hash of what was said
	who   map[types.Hash][]types.Key
}

func newAnswers(set bus.Set) *answers {
	return &answers{set: set, heard: map[types.Key]bool{}, power: map[types.Hash]uint64{}, who: map[types.Hash][]types.Key{}}
}

// hear takes a verifier's one answer, and reports whether it counts: it has power, and was not heard before.
func (v *answers) hear(verifier types.Key) bool {
	if v.heard[verifier] || v.set.Power(verifier) == 0 {
		return false
	}
	v.heard[verifier] = true
	return true
}

// add counts the answer of a verifier, which was heard, for what, and returns the power that has said so.
func (v *answers) add(verifier types.Key, what any) (power uint64, hash types.Hash) {
	hash = types.Sum(types.Encode(what))
	v.power[hash] += v.set.Power(verifier)
	v.who[hash] = append(v.who[hash], verifier)
	return v.power[hash], hash
}

// ask hands what verifiers answer to hear, until it returns false or the time is over. What names the question
// in errors.
func (q Quorum) ask(ctx context.Context, kind, what string, query []byte, hear func(raw []byte) (more bool)) error {
	if q.Bus == nil {
		return types.Refuse(types.BusUnavailable, "agent: %s: there is no connection to the bus", what)
	}
	wait := q.Wait
	if wait == 0 {
		wait = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := false
	err := q.Bus.Gather(ctx, bus.QuerySubject(q.Bus.Key(), q.Region, kind), query, func(raw []byte) bool {
		done = !hear(raw)
		return !done
	})
	if done {
		return nil
	}
	return fmt.Errorf("agent: %s: too few verifiers answer: %w: %w", what, errors.Join(err, ctx.Err()), types.BusUnavailable)
}

// agree returns the answer that more than two thirds of power give. fits says whether one is to the question.
func agree[T any](ctx context.Context, q Quorum, kind, what string, query []byte, open opener[T], fits func(*T) bool) (found *T, err error) {
	v := newAnswers(q.Set)
	err = q.ask(ctx, kind, what, query, func(raw []byte) bool {
		answer, verifier, err := open(raw, q.Chain)
		if err != nil || !fits(answer) || !v.hear(verifier) {
			return true
		}
		if power, _ := v.add(verifier, answer); q.Set.Enough(power) {
			found = answer
		}
		return found == nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Line returns what the region's tally of an epoch keeps of a device, with the states of the categories that
// are named, or of all. Before the first tally, which is epoch 0, it is empty.
func (q Quorum) Line(ctx context.Context, device types.Key, tallied types.Epoch, categories ...types.Category) (*bus.Line, error) {
	query := &bus.LineQuery{Chain: q.Chain, Region: q.Region, Device: device, Tallied: tallied}
	if tallied == 0 {
		return &bus.Line{Chain: q.Chain, Region: q.Region, Device: device}, nil
	}
	line, err := agree(ctx, q, bus.QueryLine, fmt.Sprintf("line of %v", device), bus.Encode(query), bus.Open[bus.Line], func(l *bus.Line) bool {
		return l.Region == q.Region && l.Device == device && l.Tallied == tallied
	})
	if err != nil {
		return nil, err
	}
	for i := range line.Lines {
		c := &line.Lines[i]
		if c.Blob.Size <= bus.MaxInline || len(categories) > 0 && !slices.Contains(categories, c.Category) {
			continue
		}
		if c.State, err = bus.FetchBlob(ctx, q.Bus, c.Blob.Hash, min(c.Blob.Size, MaxLine)); err != nil {
			return nil, fmt.Errorf("agent: line of %v: %w", device, err)
		}
	}
	return line, nil
}

// maxDrawn bounds how many devices one witness is told of for a draw: that many are more than it can look at.
const maxDrawn = 64 * bus.MaxDrawn

// Drawn returns the devices that a witness was drawn for in the current epoch, for one of its category's draws,
// at most maxDrawn.
func (q Quorum) Drawn(ctx context.Context, e types.Epoch, c types.Category, purpose string, witness types.Key) (all []tally.Device, err error) {
	query := &bus.DrawnQuery{Chain: q.Chain, Region: q.Region, Epoch: e, Category: c, Purpose: purpose, Witness: witness}
	for len(all) < maxDrawn {
		query.From = uint32(len(all))
		what := fmt.Sprintf("whom %v was drawn for in epoch %d", witness, e)
		page, err := agree(ctx, q, bus.QueryDrawn, what, bus.Encode(query), bus.Open[bus.Drawn], func(d *bus.Drawn) bool { return d.Query == *query })
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Devices...); !page.More || len(page.Devices) == 0 {
			break
		}
	}
	return all, nil
}

// Panel returns who was drawn for a device in the current epoch, for one of its category's draws, in the order drawn.
func (q Quorum) Panel(ctx context.Context, e types.Epoch, c types.Category, purpose string, device types.Key) ([]types.Key, error) {
	query := &bus.PanelQuery{Chain: q.Chain, Region: q.Region, Epoch: e, Category: c, Purpose: purpose, Device: device}
	what := fmt.Sprintf("who was drawn for %v in epoch %d", device, e)
	p, err := agree(ctx, q, bus.QueryPanel, what, bus.Encode(query), bus.Open[bus.Panel], func(p *bus.Panel) bool { return p.Query == *query })
	if err != nil {
		return nil, err
	}
	return p.Drawn, nil
}

// Leaf returns a device's leaf of a header, as a proof to the header's root shows it: of the newest tally, or
// of the newest final one.
func (q Quorum) Leaf(ctx context.Context, device types.Key, root bus.Root, tallied bool) (leaf tally.Leaf, err error) {
	p, err := q.Proof(ctx, device, root, tallied)
	if err != nil {
		return leaf, err
	}
	return p.Leaf, nil
}

// Proof returns that leaf with its proof.
func (q Quorum) Proof(ctx context.Context, device types.Key, root bus.Root, tallied bool) (found *bus.Proof, err error) {
	query := &bus.ProofQuery{Chain: q.Chain, Region: q.Region, Device: device, Tallied: tallied}
	err = q.ask(ctx, bus.QueryProof, fmt.Sprintf("leaf of %v", device), bus.Encode(query), func(raw []byte) bool {
		p, err := bus.Decode[bus.Proof](raw, q.Chain)
		if err != nil || p.Region != q.Region || p.Check(device, root) != nil {
			return true
		}
		found = p
		return false
	})
	return found, err
}

// Refusals returns what the tally of an epoch refused of an author, and a device's quality.
func (q Quorum) Refusals(ctx context.Context, author types.Key, e types.Epoch) (*bus.Refusals, error) {
	query := &bus.RefusalsQuery{Chain: q.Chain, Region: q.Region, Author: author, Epoch: e}
	what := fmt.Sprintf("refusals of %v in epoch %d", author, e)
	return agree(ctx, q, bus.QueryRefusals, what, bus.Encode(query), bus.Open[bus.Refusals], func(r *bus.Refusals) bool {
		return r.Region == q.Region && r.Author == author && r.Epoch == e
	})
}

// Payers returns the lines of those of keys, which are ascending, that more than two thirds of power agree on.
// now is the current epoch: what was said two epochs ago does not count, as whoever asked then can repeat it,
// seals and all. That of the epoch before does, as verifiers see an epoch's first block a little later than
// others. An error says that some are missing.
func (q Quorum) Payers(ctx context.Context, now types.Epoch, keys []types.Key) (lines []bus.PayerLine, err error) {
	for part := range slices.Chunk(keys, bus.MaxPayers) {
		some, fault := q.payers(ctx, now, part)
		lines, err = append(lines, some...), errors.Join(err, fault)
	}
	return lines, err
}

func (q Quorum) payers(ctx context.Context, now types.Epoch, keys []types.Key) (lines []bus.PayerLine, err error) {
	query := &bus.PayersQuery{Chain: q.Chain, Region: q.Region, Payers: keys}
	v, done := newAnswers(q.Set), make([]bool, len(keys))
	err = q.ask(ctx, bus.QueryPayers, fmt.Sprintf("lines of %d payers", len(keys)), bus.Encode(query), func(raw []byte) bool {
		answer, verifier, err := bus.Open[bus.Payers](raw, q.Chain)
		if err != nil || answer.Region != q.Region || len(answer.Lines) != len(keys) || answer.Epoch+1 < now || !v.hear(verifier) {
			return true
		}
		for i, line := range answer.Lines {
			if done[i] || line.Key != keys[i] { // only a line at its place: one verifier could say it many times in one answer
				continue
			}
			if power, _ := v.add(verifier, &line); q.Set.Enough(power) {
				lines, done[i] = append(lines, line), true
			}
		}
		return len(lines) < len(keys)
	})
	return lines, err
}

// Order returns what the state after a header has of a session's orders, as a page of that state proves; nil if
// more than two thirds of power say that there is none.
func (q Quorum) Order(ctx context.Context, h *tally.Header, session tally.SessionKey) (found *tally.OrderState, err error) {
	query := &bus.OrderQuery{Chain: q.Chain, Region: q.Region, Header: h.Hash(), Session: session}
	v := newAnswers(q.Set)
	err = q.ask(ctx, bus.QueryOrder, "order of session "+session.ID.String(), bus.Encode(query), func(raw []byte) bool {
		answer, verifier, err := bus.Open[bus.OrderAt](raw, q.Chain)
		if err != nil || answer.Region != q.Region || answer.Header != query.Header || answer.Session != session {
			return true
		}
		if answer.Proof != nil {
			found, err = answer.Proof.Order(h, session)
			return err != nil // a page that is not the header's proves nothing
		}
		if !v.hear(verifier) {
			return true
		}
		power, _ := v.add(verifier, session)
		return !q.Set.Enough(power)
	})
	return found, err
}
