package provider

import (
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// count adds to a number of a map that is made when it is needed. Reasons and classes are few.
func (p *Provider) count(of *map[string]float64, what string, n float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *of == nil {
		*of = map[string]float64{}
	}
	(*of)[what] += n
}

// how says in a word how a job ended: done, the trap that ended it, cut, or why it could not be run.
func how(e *compute.Ended) string {
	switch {
	case e.Reason != "":
		return string(e.Reason)
	case e.Result == nil:
		return string(compute.TrapCut)
	case e.Result.Trap != "":
		return string(e.Result.Trap)
	}
	return "done"
}

func className(class types.Class) string {
	for _, k := range compute.New().Spec.Classes {
		if k.Class == class {
			return k.Name
		}
	}
	return "unknown"
}

// figured is an Executor that has figures of its own.
type figured interface{ Figures() []role.Figure }

// Figures returns what the device is at, for /metrics.
func (p *Provider) Figures() []role.Figure {
	copied := func(m map[string]float64) map[string]float64 {
		out := map[string]float64{}
		for k, v := range m {
			out[k] = v
		}
		return out
	}
	p.mu.Lock()
	list := []role.Figure{
		{Name: "jobs_ended_total", Help: "Jobs that have ended since the start: done, or by what ended them.", Grows: true, Label: "how", Each: copied(p.ended)},
		{Name: "orders_refused_total", Help: "Orders that were refused since the start, by reason.", Grows: true, Label: "reason", Each: copied(p.refused)},
		{Name: "units_total", Help: "Units that jobs used which have ended since the start, by class: fuel, slot-milliseconds or tokens.", Grows: true, Label: "class", Each: copied(p.units)},
	}
	p.mu.Unlock()
	d := p.device.Load()
	if d == nil {
		return list
	}
	jobs := map[string]float64{"waiting": 0, "running": 0, "standing": 0, "ended": 0}
	d.mu.Lock()
	for _, j := range d.jobs {
		switch {
		case j.over() && j.open:
			jobs["ended"]++
		case j.over():
		case j.stands != nil:
			jobs["standing"]++
		case j.used.Load() > 0:
			jobs["running"]++
		default:
			jobs["waiting"]++
		}
	}
	owed, time, unopened := types.Credit(0), uint64(0), types.Credit(0)
	for _, a := range d.accounts {
		time += a.owes()
	}
	for _, s := range d.sessions {
		worth := s.worth()
		owed += worth - min(worth, s.amount())
		if !s.opened(d.least()) {
			unopened += worth
		}
	}
	list = append(list,
		role.Figure{Name: "jobs", Help: "Jobs now: waiting for their gateway, inputs or first unit; running; standing still until they are paid for; ended, and not taken by their gateway yet.", Label: "state", Each: jobs},
		role.Figure{Name: "jobs_kept", Help: "Jobs that are kept, ended ones for audits too.", Value: float64(len(d.jobs))},
		role.Figure{Name: "slots", Help: "Slots that jobs may take.", Value: float64(d.cfg.Slots)},
		role.Figure{Name: "slots_taken", Help: "Slots that jobs have taken.", Value: float64(d.slots)},
		role.Figure{Name: "memory_taken_bytes", Help: "Memory that jobs have taken.", Value: float64(d.memory)},
		role.Figure{Name: "inputs_bytes", Help: "What jobs read that is kept.", Value: float64(d.pinnedBytes)},
		role.Figure{Name: "outputs_bytes", Help: "What jobs wrote that is kept, and what those that run may write.", Value: float64(d.outBytes)},
		role.Figure{Name: "sessions", Help: "Sessions of payers.", Value: float64(len(d.sessions))},
		role.Figure{Name: "unpaid_credits", Help: "What jobs did that no receipt says yet, in micro-credits.", Value: float64(owed)},
		role.Figure{Name: "unpaid_seconds", Help: "What all accounts owe, in seconds of one slot.", Value: float64(time) / 1e9},
		role.Figure{Name: "unopened_credits", Help: "What was done in sessions below the least that can be paid out, in micro-credits.", Value: float64(unopened)},
	)
	executors := d.executors
	d.mu.Unlock()
	for _, e := range executors {
		if f, ok := e.(figured); ok {
			list = append(list, f.Figures()...)
		}
	}
	return list
}
