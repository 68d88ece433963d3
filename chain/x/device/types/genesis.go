package types

import "fmt"

// DefaultGenesis has no device.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks each part and that nothing is there twice.
func (g *GenesisState) Validate() error {
	if err := g.Params.Validate(); err != nil {
		return err
	}
	devices, makers, models := map[string]bool{}, map[uint64]bool{}, map[uint64]bool{}
	for i := range g.Devices {
		d := &g.Devices[i]
		if err := d.Validate(); err != nil {
			return err
		}
		if devices[d.Device] {
			return fmt.Errorf("device %s is there twice", d.Device)
		}
		devices[d.Device] = true
	}
	for _, m := range g.Makers {
		if m.Id == 0 || makers[m.Id] {
			return fmt.Errorf("maker %d is zero or there twice", m.Id)
		}
		makers[m.Id] = true
	}
	for _, m := range g.Models {
		if m.Id == 0 || models[m.Id] || !makers[m.Maker] {
			return fmt.Errorf("model %d is zero, there twice, or of an unknown maker", m.Id)
		}
		models[m.Id] = true
	}
	return nil
}
