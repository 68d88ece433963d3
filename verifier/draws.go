package verifier

import (
	"context"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// draws tells witnesses whom they were drawn for in the present epoch, and devices who was drawn for them. A draw is
// made over all devices of its category, once an epoch, when the first witness asks.
type draws struct {
	*self
	clock *clock
	rules *ruleBook

	mu     sync.Mutex
	epoch  types.Epoch // of what follows
	seed   types.Hash
	panels map[types.Category]*tally.Panel
	made   map[drawing]map[types.Key][]*tally.Device
}

// drawing names a draw of one epoch.
type drawing struct {
	category types.Category
	purpose  string
}

// answer answers a DrawnQuery. To one of another epoch, or before the seed is known, it says nothing.
func (d *draws) answer(_ context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.DrawnQuery](raw, d.chain)
	now := d.clock.now()
	if err != nil || now == nil || q.Region != d.cfg.Region || q.Epoch != now.epoch.Epoch || now.epoch.Seed.IsZero() {
		return nil
	}
	list, ok := d.of(now, q)
	if !ok {
		return nil
	}
	from := min(int(q.From), len(list))
	upto := min(from+bus.MaxDrawn, len(list))
	out := &bus.Drawn{Query: *q, More: upto < len(list)}
	for _, device := range list[from:upto] {
		out.Devices = append(out.Devices, *device)
	}
	return bus.Seal(d.cfg.Key, out)
}

// answerPanel answers a PanelQuery, as answer does.
func (d *draws) answerPanel(_ context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.PanelQuery](raw, d.chain)
	now := d.clock.now()
	if err != nil || now == nil || q.Region != d.cfg.Region || q.Epoch != now.epoch.Epoch || now.epoch.Seed.IsZero() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	panel := d.panel(now, drawing{q.Category, q.Purpose})
	if panel == nil {
		return nil
	}
	out := &bus.Panel{Query: *q}
	if device := now.registry.Device(q.Device); device != nil {
		out.Drawn = panel.Draw(device, q.Purpose)
	}
	return bus.Seal(d.cfg.Key, out)
}

// of returns the devices that the witness was drawn for; false for a draw that no category makes.
func (d *draws) of(now *headView, q *bus.DrawnQuery) ([]*tally.Device, bool) {
	at := drawing{q.Category, q.Purpose}
	d.mu.Lock()
	defer d.mu.Unlock()
	panel := d.panel(now, at)
	if panel == nil {
		return nil, false
	}
	if d.made[at] == nil {
		d.made[at] = panel.Assigned(q.Purpose)
	}
	return d.made[at][q.Witness], true
}

// panel returns the panel that makes a draw; nil for one that no category makes. mu is held.
func (d *draws) panel(now *headView, at drawing) *tally.Panel {
	spec := d.rules.specs[at.category]
	if spec == nil || !slices.ContainsFunc(spec.Draws, func(of tally.Draw) bool { return of.Purpose == at.purpose }) {
		return nil
	}
	if d.epoch != now.epoch.Epoch || d.seed != now.epoch.Seed {
		d.epoch, d.seed = now.epoch.Epoch, now.epoch.Seed
		d.panels, d.made = map[types.Category]*tally.Panel{}, map[drawing]map[types.Key][]*tally.Device{}
	}
	if d.panels[at.category] == nil {
		panel, err := tally.NewPanel(spec, now.registry, now.epoch.Seed)
		if err != nil {
			d.log.Error("no witnesses can be drawn", "category", spec.Name, "epoch", d.epoch, "error", err)
			return nil
		}
		d.panels[at.category] = panel
	}
	return d.panels[at.category]
}
