package keeper_test

import (
	"testing"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	core "github.com/cairn-network/cairn/core/types"
)

// TestGenesisRefused: a chain does not start from a state that no chain can have come to.
func TestGenesisRefused(t *testing.T) {
	state := func() *types.GenesisState {
		f := setup(t)
		ids := f.made(t, roof, 7, 1000)
		wantReason(t, "retire", f.retire(alice, ids[1], "", f.get(t, ids[1]).FromTime), "")
		g, err := f.keeper.ExportGenesis(f.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	if err := state().Validate(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*types.GenesisState, *types.Certificate){
		"parameters out of bounds":     func(g *types.GenesisState, _ *types.Certificate) { g.Params.ExpiryDays = 0 },
		"a device that is no key":      func(_ *types.GenesisState, c *types.Certificate) { c.Device = "roof" },
		"another id":                   func(_ *types.GenesisState, c *types.Certificate) { c.Id = barn.String() + "/1000" },
		"an owner that is no account":  func(_ *types.GenesisState, c *types.Certificate) { c.Owner = "alice" },
		"a zone that is no cell":       func(_ *types.GenesisState, c *types.Certificate) { c.Zone = "ffff" },
		"no watt-hour":                 func(_ *types.GenesisState, c *types.Certificate) { c.ToWh = c.FromWh },
		"two hours":                    func(_ *types.GenesisState, c *types.Certificate) { c.ToTime += 900 },
		"no time":                      func(_ *types.GenesisState, c *types.Certificate) { c.ToTime = c.FromTime },
		"a time below all":             func(_ *types.GenesisState, c *types.Certificate) { c.FromTime, c.ToTime = 0, 0 },
		"expiry within a day":          func(_ *types.GenesisState, c *types.Certificate) { c.Expires++ },
		"expiry before issue":          func(_ *types.GenesisState, c *types.Certificate) { c.Expires = 0 },
		"a state that is never stored": func(_ *types.GenesisState, c *types.Certificate) { c.State = types.State_STATE_EXPIRED },
		"retired for nobody":           func(_ *types.GenesisState, c *types.Certificate) { c.State = types.State_STATE_RETIRED },
		"active for somebody":          func(_ *types.GenesisState, c *types.Certificate) { c.Beneficiary = "Bakery" },
		"active for an hour":           func(_ *types.GenesisState, c *types.Certificate) { c.Hour = c.FromTime },
		"another hour":                 func(g *types.GenesisState, _ *types.Certificate) { g.Certificates[1].Hour += 3600 },
		"a beneficiary with an escape": func(g *types.GenesisState, _ *types.Certificate) { g.Certificates[1].Beneficiary = "\x1b" },
		"more storage than all":        func(_ *types.GenesisState, c *types.Certificate) { c.Storage = 10_001 },
		"a region that cannot be":      func(_ *types.GenesisState, c *types.Certificate) { c.Region = 1 << 16 },
		"an overlap":                   func(_ *types.GenesisState, c *types.Certificate) { c.ToWh++ },
		"one there twice":              func(g *types.GenesisState, c *types.Certificate) { g.Certificates[1] = *c },
		"out of order":                 func(g *types.GenesisState, c *types.Certificate) { *c, g.Certificates[1] = g.Certificates[1], *c },
		"beyond the mark":              func(g *types.GenesisState, _ *types.Certificate) { g.Marks[0].Wh-- },
		"no mark":                      func(g *types.GenesisState, _ *types.Certificate) { g.Marks = nil },
		"a mark there twice":           func(g *types.GenesisState, _ *types.Certificate) { g.Marks = append(g.Marks, g.Marks[0]) },
		"a mark of no device":          func(g *types.GenesisState, _ *types.Certificate) { g.Marks[0].Device = "roof" },
		"more than there can be": func(g *types.GenesisState, c *types.Certificate) {
			g.Marks[0].Wh, g.Certificates[2].ToWh = 1<<64-1, 1<<64-1
			far := g.Certificates[2]
			far.Device = core.Key{2}.String()
			far.Id, far.FromWh, far.ToWh = far.Device+"/0", 0, 1<<64-1
			g.Certificates = append(g.Certificates, far)
			g.Marks = append(g.Marks, types.Mark{Device: far.Device, Wh: 1<<64 - 1})
		},
	} {
		g := state()
		spoil(g, &g.Certificates[0])
		if g.Validate() == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

// TestAudit: it finds what a fault of the module would leave behind.
func TestAudit(t *testing.T) {
	for what, spoil := range map[string]func(*fixture, types.Certificate) error{
		"a mark that fell": func(f *fixture, _ types.Certificate) error { return f.keeper.Marks.Set(f.ctx, roof[:], 1500) },
		"a watt-hour more": func(f *fixture, c types.Certificate) error {
			c.ToWh++
			return f.keeper.Certificates.Set(f.ctx, collections.Join(roof[:], c.FromWh), c)
		},
		"a watt-hour less": func(f *fixture, c types.Certificate) error {
			c.ToWh--
			return f.keeper.Certificates.Set(f.ctx, collections.Join(roof[:], c.FromWh), c)
		},
		"one gone": func(f *fixture, c types.Certificate) error {
			return f.keeper.Certificates.Remove(f.ctx, collections.Join(roof[:], c.FromWh))
		},
		"one retired unnoticed": func(f *fixture, c types.Certificate) error {
			c.State, c.Beneficiary = types.State_STATE_RETIRED, c.Owner
			return f.keeper.Certificates.Set(f.ctx, collections.Join(roof[:], c.FromWh), c)
		},
		"one with another owner": func(f *fixture, c types.Certificate) error {
			c.Owner = bob.String()
			return f.keeper.Certificates.Set(f.ctx, collections.Join(roof[:], c.FromWh), c)
		},
		"one under another id": func(f *fixture, c types.Certificate) error {
			return f.keeper.Certificates.Set(f.ctx, collections.Join(roof[:], c.FromWh+1), c)
		},
	} {
		f := setup(t)
		ids := f.made(t, roof, 7, 1000)
		if err := f.keeper.Audit(f.ctx); err != nil {
			t.Fatal(err)
		}
		if err := spoil(f, f.get(t, ids[0])); err != nil {
			t.Fatal(err)
		}
		if f.keeper.Audit(f.ctx) == nil {
			t.Errorf("%s: not found", what)
		}
	}
}
