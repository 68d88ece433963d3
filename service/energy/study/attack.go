package study

// Attack is a way to cheat. The meter of the panels is made to show more than it measured. The meter at the grid
// connection is made to agree with it.
type Attack string

// Attacks are the ways that are studied.
var Attacks = []Attack{"x1.25", "x1.5", "x2", "flat", "night", "replay", "shift", "copy"}

const (
	nightShare  = 4   // a quarter of the nameplate is fed in while the sun is down
	replayFrom  = 28  // the best of so many days before
	shiftBy     = 12  // quarter hours: what was made at noon is sold at three
	perDay      = 96  // quarter hours
	perThousand = 250 // Wh in a quarter hour of a kW
)

// tamper returns what a home claims to have made in n quarter hours, beginning with quarter hour from.
func (r *Recording) tamper(h *Home, a Attack, from, n int) []uint32 {
	out := make([]uint32, n)
	copy(out, h.PV[from:])
	times := func(num, den uint32) {
		for i := range out {
			out[i] = out[i] * num / den
		}
	}
	switch a {
	case "x1.25":
		times(5, 4)
	case "x1.5":
		times(3, 2)
	case "x2":
		times(2, 1)
	case "flat":
		for i := range out {
			out[i] = h.PDC / 4
		}
	case "night":
		for i := range out {
			if r.place.Most(r.First+uint64(from+i)) == 0 {
				out[i] = h.PDC / 4 / nightShare
			}
		}
	case "replay":
		best, most := from, uint64(0)
		for d := 1; d <= replayFrom && from-d*perDay >= 0; d++ {
			if sum := total(h.PV[from-d*perDay:][:perDay]); sum > most {
				best, most = from-d*perDay, sum
			}
		}
		for i := range out {
			out[i] = h.PV[best+i%perDay]
		}
	case "copy":
		var best *Home
		most := uint64(0)
		for i := range r.Homes {
			if o := &r.Homes[i]; o != h {
				if sum := total(o.PV[from:][:n]) * 1000 / uint64(o.PDC); sum >= most {
					best, most = o, sum
				}
			}
		}
		for i := range out {
			out[i] = uint32(uint64(best.PV[from+i]) * uint64(h.PDC) / uint64(best.PDC))
		}
	case "shift":
		for i := range out {
			out[i] = h.PV[max(from+i-shiftBy, 0)]
		}
	}
	return out
}

func total(wh []uint32) (sum uint64) {
	for _, x := range wh {
		sum += uint64(x)
	}
	return sum
}
