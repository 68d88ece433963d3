package energy

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

type sky struct{ east int64 }

func newSky(cell types.Cell) *sky { return &sky{} }

func (p *sky) brightest(k uint64, altitude uint8) int64 {
	h := (k*lot.Interval + uint64(p.east)) % 86400
	if h < 6*3600-1800 || h > 18*3600+1800 {
		return 0
	}
	return 1400
}

func (p *sky) day(k uint64) uint32 {
	return uint32(min((k*lot.Interval+uint64(p.east))/86400, 1<<32-1))
}

func bound(s *Site, b int64, env uint64) uint64 {
	if b == 0 {
		return 0
	}
	x := uint64(s.PDC) * uint64(b) * env
	const d = 4 * 1000 * econ.Bps
	return min(uint64(s.PAC)/4, (x+d-1)/d+uint64(s.PDC)/200)
}
