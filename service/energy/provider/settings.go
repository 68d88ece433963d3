package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
	"github.com/cairn-network/cairn/service/role"
)

// Settings is what an owner sets of a home: the section "energy" of node.yaml.
type Settings struct {
	PDC         uint32          `json:"p_dc_w" doc:"Nameplate of the panels at standard test conditions, in W: the sum of what stands on their backs. What the sun can give is reckoned from it. 0 without panels."`
	PAC         uint32          `json:"p_ac_w" doc:"What the inverter can give, in W: its nameplate. 0 without panels."`
	Altitude    uint32          `json:"altitude_m" doc:"Height of the place above the sea, in m; it counts in steps of 100."`
	Storage     uint32          `json:"storage_wh" doc:"What the battery holds, in Wh; 0 without one, or without a meter of its own."`
	Efficiency  uint32          `json:"efficiency_bp" doc:"What of the energy that goes into the battery comes out again, in hundredths of a percent, at most 9000."`
	Community   uint64          `json:"community_price" doc:"The least that neighbours pay for what is fed in, in micro-credits ($0.000001) for each Wh: 120 is 12 cents for a kWh."`
	Certificate uint64          `json:"certificate_price" doc:"The least that is paid for a certificate of origin, in micro-credits for each Wh."`
	Poll        uint32          `json:"poll_s" doc:"How often the meters are read, in seconds."`
	Meters      []source.Config `json:"meters" doc:"The meters: one at the grid connection, and if there are any one of the panels and one of the battery."`
}

// Device is energy on a device: a home.
func Device() role.Device { return deviceIn(localAddresses) }

// deviceIn is Device with the addresses that Find looks at.
func deviceIn(networks func() ([]string, error)) role.Device {
	return role.Device{
		Category: types.Energy, Settings: Settings{}, New: provide, Try: tryMeters,
		Search: "look for inverters and meters (Modbus, port 502) on this machine's private networks?",
		Find: func(ctx context.Context, _ string) (json.RawMessage, string, error) {
			addresses, err := networks()
			if err != nil {
				return nil, "", fmt.Errorf("energy: list networks: %w", err)
			}
			return find(ctx, addresses)
		},
	}
}

// Prices that are proposed, in micro-credits per Wh: above what utilities pay, below what they take.
const (
	proposedCommunity   = 150
	proposedCertificate = 20
)

// overbuilt is how much larger panels commonly are than their inverter, in percent: what p_dc is proposed as.
const overbuilt = 120

// connection is the most that a house's connection carries: three phases of 63 A at 230 V, in W.
const connection = 43_470

// find looks for SunSpec devices at addresses, and proposes the site that they make.
func find(ctx context.Context, addresses []string) (json.RawMessage, string, error) {
	o, line := propose(scan(ctx, addresses))
	if o == nil {
		return nil, line, nil
	}
	raw, err := json.Marshal(o)
	return raw, line, err
}

// propose makes a site of what a scan found; nil without a meter at the grid.
func propose(found []candidate) (*Settings, string) {
	o := &Settings{Community: proposedCommunity, Certificate: proposedCertificate, Poll: 10}
	var said []string
	for _, role := range roles {
		for _, f := range found {
			if f.role != role || o.has(role) {
				continue
			}
			c := source.Config{Role: role, Map: "sunspec", Address: f.address, Unit: f.unit, Rating: connection}
			if f.channel > 0 {
				c.Channel = &f.channel
			}
			switch role {
			case source.PV:
				o.PAC = f.rating
				o.PDC = uint32(uint64(f.rating) * overbuilt / 100)
				if f.rating > 0 {
					c.Rating = f.rating
				}
			case source.Battery:
				o.Storage, o.Efficiency = f.storage, energy.MaxEfficiency
				c.Rating = max(f.rating, 1000)
			}
			o.Meters = append(o.Meters, c)
			said = append(said, fmt.Sprintf("%s: %s at %s unit %d", role, f.meter, f.address, f.unit))
			if more := others(found, &f); more > 0 {
				said[len(said)-1] += fmt.Sprintf(" (and %d more like it, which are left out)", more)
			}
		}
	}
	if !o.has(source.Grid) {
		if len(said) > 0 {
			return nil, strings.Join(said, ", ") + "; no meter at the grid connection answers SunSpec: name one in node.yaml"
		}
		return nil, "no inverter or meter answers SunSpec on the local network"
	}
	line := strings.Join(said, ", ")
	if o.has(source.PV) && o.PAC == 0 {
		line += "; the inverter does not say what it is rated for: set energy.p_ac_w and energy.p_dc_w"
	}
	if o.PAC > 0 {
		line += fmt.Sprintf("; panels of %d W are assumed behind an inverter of %d W: set energy.p_dc_w to what they are", o.PDC, o.PAC)
	}
	return o, line
}

// others counts what else was found for a candidate's role.
func others(found []candidate, c *candidate) (n int) {
	for i := range found {
		if found[i].role == c.role && found[i].meter != c.meter {
			n++
		}
	}
	return n
}

func (o *Settings) has(role source.Role) bool {
	for _, m := range o.Meters {
		if m.Role == role {
			return true
		}
	}
	return false
}

// provide returns the home that an offer describes.
func provide(offer json.RawMessage) (role.Provider, error) {
	var o Settings
	d := json.NewDecoder(bytes.NewReader(offer))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return role.Provider{}, fmt.Errorf("energy: settings: %w", err)
	}
	cfg, err := o.config()
	if err != nil {
		return role.Provider{}, fmt.Errorf("energy: settings: %w", err)
	}
	p := New(cfg)
	if err := p.cfg.check(); err != nil {
		return role.Provider{}, fmt.Errorf("energy: settings: %w", err)
	}
	return p.Role(), nil
}

// tryMeters reads each meter that settings name, and says what it shows.
func tryMeters(ctx context.Context, offer json.RawMessage) []string {
	var o Settings
	if err := json.Unmarshal(offer, &o); err != nil {
		return []string{fmt.Sprintf("the settings cannot be read: %v", err)}
	}
	said := make([][]string, len(o.Meters))
	var group sync.WaitGroup
	for i := range o.Meters {
		group.Go(func() { said[i] = try(ctx, &o.Meters[i], o.PDC > 0 || o.Storage > 0) })
	}
	group.Wait()
	return slices.Concat(said...)
}

// try reads one meter; feeds says whether anything can be fed in.
func try(ctx context.Context, c *source.Config, feeds bool) (lines []string) {
	say := func(format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%s: ", c.Role)+fmt.Sprintf(format, args...))
	}
	look, err := source.TakeALook(ctx, *c)
	if err != nil {
		say("cannot be read now: %.300s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return lines
	}
	r := look.Reading
	var shown, missing []string
	for _, reg := range c.Role.Registers() {
		list := r.Counters[reg]
		if list == nil {
			if reg != energy.Export || feeds {
				missing = append(missing, reg.String())
			}
			continue
		}
		v, err := new(series).read(list, 0, 0)
		if err != nil {
			say("%v: %v", reg, err)
			continue
		}
		shown = append(shown, fmt.Sprintf("%v %d Wh", reg, v.wh))
		if v.step >= coarse && !v.loose && v.wh > 0 {
			say("%v counts in steps of %d Wh, so quarter hours can hardly be told apart. Have the meter show more digits: a German meter does once its PIN is entered", reg, v.step)
		}
	}
	if len(shown) > 0 {
		line := fmt.Sprintf("%s shows %s", r.Meter, strings.Join(shown, ", "))
		if r.Power != nil {
			line += fmt.Sprintf("; %d W now", *r.Power)
		}
		say("%s", line)
	}
	if len(missing) > 0 {
		say("%s does not appear. The meter sends %s. Choose another map or channel, or write a map of your own", strings.Join(missing, " and "), listed(r.Sent))
	}
	if len(look.Channels) > 0 {
		var powers []string
		for _, ch := range look.Channels {
			powers = append(powers, fmt.Sprintf("%d: %d W", ch.Number, ch.Watts))
		}
		is := "is not set"
		if c.Channel != nil {
			is = fmt.Sprintf("is %d", *c.Channel)
		}
		say("its channels carry %s; channel %s", strings.Join(powers, ", "), is)
	}
	return lines
}

// config turns settings into a configuration.
func (o *Settings) config() (Config, error) {
	if o.Altitude > 100*energy.MaxAltitude || o.Efficiency > energy.MaxEfficiency {
		return Config{}, fmt.Errorf("altitude_m %d, efficiency_bp %d: at most %d and %d", o.Altitude, o.Efficiency, 100*energy.MaxAltitude, energy.MaxEfficiency)
	}
	c := Config{Site: energy.Site{PDC: o.PDC, PAC: o.PAC, Altitude: uint8(o.Altitude / 100), Storage: o.Storage, Efficiency: types.Bp(o.Efficiency)},
		Sources: o.Meters, Community: o.Community, Certificate: o.Certificate, Poll: time.Duration(o.Poll) * time.Second}
	if o.PDC > 0 {
		c.Site.Technology = energy.Solar
	}
	return c, nil
}
