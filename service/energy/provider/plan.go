package provider

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// envelope is something to hand in.
type envelope struct {
	kind evidence.Kind
	body []byte
	list []int // the entries that are in it
}

// plan is what has to be handed in, given what the tally has.
type plan struct {
	state   *energy.State
	tallied types.Epoch
	done    uint64       // the first interval that is not over at the epoch's start
	site    *energy.Site // as it is now; nil while not all meters have been read
	sited   types.Epoch  // the epoch in which it was handed in last
	entries []entry      // all after the last that counts, ascending

	out  []envelope
	wh   [energy.Registers]uint64 // as the tally will have them
	at   energy.Site              // …
	run  []int                    // records of the envelope that grows
	late int                      // records that can never count
	lost bool                     // something that was handed in does not count
}

// make works the envelopes out. What was handed in and may still count is passed over, as if it did; what was
// handed in and does not count goes in envelopes of its own, since one record that counts twice would have the
// whole envelope refused. What was handed in after something that does not count goes again too, whatever may
// become of it: it may be refused for what it lacked, and once a later record counts it never can.
func (p *plan) make() []envelope {
	p.wh, p.at = p.state.Wh, p.state.Site
	for i := range p.entries {
		e := &p.entries[i]
		r := &e.Record
		switch {
		case r.K <= p.state.K && p.state.K > 0:
			continue
		case r.K+energy.MaxLate < p.done, e.Site != p.at && p.at == p.state.Site && p.later(i):
			p.late++
			continue
		case r.K >= p.done:
			continue
		}
		p.lost = p.lost || e.Sent > 0 && p.tallied >= e.Sent
		waits := e.Sent > 0 && !p.lost
		p.declare(&e.Site, r, waits)
		p.resets(e, waits)
		if len(p.run) > 0 && p.entries[p.run[0]].Sent != e.Sent {
			p.flush()
		}
		if !waits {
			p.run = append(p.run, i)
		}
		for reg := range r.Wh {
			if r.Present.Has(energy.Register(reg)) {
				p.wh[reg] = r.Wh[reg]
			}
		}
	}
	p.flush()
	if p.site != nil && (p.at.Grid.IsZero() || sameMeters(p.site, &p.at)) { // another meter is declared with its first record
		p.declare(p.site, nil, false)
	}
	return p.out
}

func sameMeters(a, b *energy.Site) bool {
	return a.Grid == b.Grid && a.PV == b.PV && a.Battery == b.Battery
}

// later reports whether the site that the tally has comes later than entry i: then the site of the entry is past.
func (p *plan) later(i int) bool {
	for ; i < len(p.entries); i++ {
		if p.entries[i].Site == p.at {
			return true
		}
	}
	return p.site != nil && *p.site == p.at
}

// declare changes to another site, and declares that the registers of its new meters began anew.
func (p *plan) declare(site *energy.Site, r *energy.Record, waits bool) {
	if *site == p.at {
		return
	}
	old := p.at
	p.flush()
	p.at = *site
	if flying := p.site != nil && *p.site == *site && p.sited > 0 && p.tallied < p.sited; !waits && !flying {
		p.out = append(p.out, envelope{kind: energy.KindSite, body: site.Encode()})
	}
	if old.Grid.IsZero() || r == nil {
		return
	}
	before := siteMeters(&old)
	for _, role := range roles {
		if was, is := before[role], siteMeters(site)[role]; *was != *is && !was.IsZero() {
			for _, reg := range role.Registers() {
				if r.Present.Has(reg) && p.wh[reg] != r.Wh[reg] {
					p.reset(reg, r.Wh[reg], energy.Swapped, waits)
				}
			}
		}
	}
}

// roles in their order.
var roles = []source.Role{source.Grid, source.PV, source.Battery}

// resets declares the registers that began anew, and those that show less than the tally has.
func (p *plan) resets(e *entry, waits bool) {
	r := &e.Record
	for reg := range energy.Registers {
		if r.Present.Has(reg) && (r.Wh[reg] < p.wh[reg] || e.Anew.Has(reg) && r.Wh[reg] != p.wh[reg] && p.state.K > 0) {
			p.reset(reg, r.Wh[reg], energy.Zeroed, waits)
		}
	}
}

func (p *plan) reset(reg energy.Register, first uint64, cause energy.Cause, waits bool) {
	p.flush()
	if !waits {
		r := energy.Reset{Register: reg, Last: p.wh[reg], First: first, Cause: cause}
		p.out = append(p.out, envelope{kind: energy.KindReset, body: r.Encode()})
	}
	p.wh[reg] = first
}

// flush packs the run.
func (p *plan) flush() {
	if len(p.run) == 0 {
		return
	}
	records := make([]energy.Record, len(p.run))
	for i, at := range p.run {
		records[i] = p.entries[at].Record
	}
	at := 0
	for _, m := range energy.Pack(records) {
		n := len(m.Steps) + 1
		p.out = append(p.out, envelope{kind: energy.KindMeter, body: m.Encode(), list: p.run[at : at+n]})
		at += n
	}
	p.run = nil
}
