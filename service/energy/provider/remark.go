package provider

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// A register that has not appeared in so many samples over so long a time is one that the meter does not send.
const (
	seldom  = 3
	unknown = 5 * 60_000 // ms of energy time
)

// Remarks returns what the owner should know now.
func (p *Provider) Remarks() []role.Remark {
	if list := p.remarks.Load(); list != nil {
		return *list
	}
	return nil
}

// speak says what the owner should know now.
func (d *device) speak() {
	if d.say == nil {
		return
	}
	var list []role.Remark
	for _, m := range d.meters {
		list = append(list, d.remarks(m)...)
	}
	list = list[:min(len(list), role.MaxRemarks)]
	if old := d.say.Load(); old == nil || !slices.Equal(*old, list) {
		d.say.Store(&list)
	}
}

// remarks are those of one meter.
func (d *device) remarks(m *meter) (list []role.Remark) {
	say := func(reason types.Reason, format string, args ...any) {
		list = append(list, role.Remark{Reason: reason, Text: fmt.Sprintf("%s: ", m.cfg.Role) + fmt.Sprintf(format, args...)})
	}
	if m.wrong != nil {
		say(reasonOf(m.wrong), "%.500s", strings.ReplaceAll(m.wrong.Error(), "\n", "; "))
	}
	for _, reg := range m.cfg.Role.Registers() {
		t := d.tracks[trackName(m.cfg.Role, reg)]
		switch {
		case reg == energy.Export && d.cfg.Site.PDC == 0 && d.cfg.Site.Storage == 0:
			// nothing is fed in
		case !m.seen.Has(reg) && m.reads >= seldom && m.last >= m.first+unknown:
			say(energy.RegisterMissing, "%v never appears. The meter sends %s", reg, listed(m.sent))
		case t != nil && m.seen.Has(reg) && t.coarse() > 0:
			say(energy.RegisterCoarse, "%v counts in steps of %d Wh", reg, t.coarse())
		}
	}
	return list
}

// listed writes what a meter sends.
func listed(sent []string) string {
	if len(sent) == 0 {
		return "nothing else"
	}
	return strings.Join(sent, ", ")
}
