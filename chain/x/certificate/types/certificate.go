package types

import (
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// Day is in seconds.
const Day = 86_400

// Wh returns what c is over, in watt-hours.
func (c *Certificate) Wh() uint64 { return c.ToWh - c.FromWh }

// At returns the state of c at a Unix second of the chain's time.
func (c *Certificate) At(now uint64) State {
	if c.State == State_STATE_ACTIVE && now >= c.Expires {
		return State_STATE_EXPIRED
	}
	return c.State
}

// Key returns the id of c.
func (c *Certificate) Key() (lot.ID, error) {
	device, err := types.ParseKey(c.Device)
	return lot.ID{Device: device, From: c.FromWh}, err
}

// Validate checks a certificate of a genesis state.
func (c *Certificate) Validate() error {
	id, err := c.Key()
	if err != nil {
		return fmt.Errorf("certificate of device %.80q: %w", c.Device, err)
	}
	if c.Id != id.String() {
		return fmt.Errorf("certificate %s has the id %.100q", id, c.Id)
	}
	if _, err := types.ParseAccount(c.Owner); err != nil {
		return fmt.Errorf("certificate %s: owner: %w", id, err)
	}
	if zone, err := types.ParseCell(c.Zone); c.Zone != "0" && (err != nil || zone.String() != c.Zone) {
		return fmt.Errorf("certificate %s: zone %.20q", id, c.Zone)
	}
	if err := lot.CheckBeneficiary(c.Beneficiary); err != nil {
		return fmt.Errorf("certificate %s: %w", id, err)
	}
	switch {
	case c.FromWh >= c.ToWh:
		return fmt.Errorf("certificate %s is empty", id)
	case c.FromTime >= c.ToTime || lot.Hour(c.FromTime) != lot.Hour(c.ToTime-1):
		return fmt.Errorf("certificate %s is not of one hour: [%d, %d)", id, c.FromTime, c.ToTime)
	case c.Expires%Day != 0 || c.Expires <= c.Issued:
		return fmt.Errorf("certificate %s expires at %d, issued at %d", id, c.Expires, c.Issued)
	case c.State != State_STATE_ACTIVE && c.State != State_STATE_RETIRED:
		return fmt.Errorf("certificate %s: state %v", id, c.State)
	case (c.State == State_STATE_RETIRED) != (c.Beneficiary != ""):
		return fmt.Errorf("certificate %s: state %v with the beneficiary %q", id, c.State, c.Beneficiary)
	case c.Hour != 0 && (c.State != State_STATE_RETIRED || c.Hour != lot.Hour(c.FromTime)):
		return fmt.Errorf("certificate %s is claimed for the hour %d", id, c.Hour)
	case c.Storage > econ.Bps || c.Technology > 1<<8-1 || c.Region > 1<<16-1:
		return fmt.Errorf("certificate %s: storage %d, technology %d, region %d", id, c.Storage, c.Technology, c.Region)
	}
	return nil
}

// DefaultGenesis has no certificate.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks each part; that certificates are in order, so that no two overlap; and that none reaches
// beyond its device's mark.
func (g *GenesisState) Validate() error {
	if err := g.Params.Validate(); err != nil {
		return err
	}
	marks := map[string]uint64{}
	for _, m := range g.Marks {
		if _, err := types.ParseKey(m.Device); err != nil {
			return fmt.Errorf("mark of device %.80q: %w", m.Device, err)
		}
		if _, twice := marks[m.Device]; twice {
			return fmt.Errorf("mark of device %s is there twice", m.Device)
		}
		marks[m.Device] = m.Wh
	}
	var sum uint64
	var last lot.ID
	for i := range g.Certificates {
		c := &g.Certificates[i]
		if err := c.Validate(); err != nil {
			return err
		}
		id, _ := c.Key() // Validate read it
		if i > 0 && (id.Compare(last) <= 0 || id.Device == last.Device && c.FromWh < g.Certificates[i-1].ToWh) {
			return fmt.Errorf("certificate %s overlaps %s, or is out of order", id, last)
		}
		if c.ToWh > marks[c.Device] {
			return fmt.Errorf("certificate %s reaches to %d, its device's mark is %d", id, c.ToWh, marks[c.Device])
		}
		last = id
		if sum += c.Wh(); sum < c.Wh() {
			return types.Refuse(types.EconRange, "certificates")
		}
	}
	return nil
}
