package study

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// Week is seven days of a home, by quarter hours: as it was, and as it claims.
type Week struct {
	Home   int
	Attack Attack
	Begins time.Time
	Honest []uint32 // Wh
	Claim  []uint32 // Wh
	Bound  []uint64 // Wh: the most that the device's envelope allows
	Caught int      // the day of the first alarm, from 1; 0 for none
}

// errNoWeek is why Week draws nothing of a home or a day that is not there.
var errNoWeek = errors.New("no week of")

// Week returns a week of a home that cheats, day days after the first that counts; 0 is the middle of the recording.
func (r *Recording) Week(ctx context.Context, rules tally.Verifier, home int, a Attack, day int) (*Week, error) {
	if home < 1 || home > len(r.Homes) {
		return nil, fmt.Errorf("study: %w home %d: want 1 to %d", errNoWeek, home, len(r.Homes))
	}
	b := &bench{r: r, rules: rules, epoch: perHour}
	last, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	if day == 0 {
		day = (last - b.ready) / 2
	}
	if day += b.ready; day < b.ready || day >= last {
		return nil, fmt.Errorf("study: %w day %d: want 0 to %d", errNoWeek, day-b.ready, last-b.ready-1)
	}
	from, to := b.at[day], b.at[day+windowLong]
	h := &r.Homes[home-1]
	w := &Week{Home: home, Attack: a, Honest: h.PV[from:to], Claim: r.tamper(h, a, from, to-from)}
	w.Begins = time.Unix(int64(r.First+uint64(from))*lot.Interval, 0).UTC()
	if caught, _, _ := b.window(home-1, day, windowLong, w.Claim); caught <= windowLong {
		w.Caught = caught
	}
	limits := energy.DefaultThresholds()
	env := types.Bp(b.starts[day].state(home - 1).Envelope(&limits))
	for i := from; i < to; i++ {
		w.Bound = append(w.Bound, energy.Limit(uint64(h.PDC), uint64(h.PDC), r.place.Most(r.First+uint64(i)), env))
	}
	return w, nil
}

// SVG draws the week: honest above, claimed below, both under the bound.
func (w *Week) SVG() []byte {
	const width, height, left, gap = 960, 200, 48, 44
	most := uint64(1)
	for i := range w.Bound {
		most = max(most, w.Bound[i], uint64(w.Claim[i]), uint64(w.Honest[i]))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" `+
		`font-size="12">`+"\n", left+width+8, 2*(height+gap)+24)
	fmt.Fprintln(&b, `<rect width="100%" height="100%" fill="white"/>`)
	end := "no alarm"
	if w.Caught > 0 {
		end = fmt.Sprintf("first alarm on day %d", w.Caught)
	}
	for row, panel := range []struct {
		title, colour string
		wh            []uint32
	}{
		{
			fmt.Sprintf("home %d, honest, seven days from %s UTC", w.Home, w.Begins.Format("2006-01-02 15:04")),
			"#2a7", w.Honest,
		},
		{fmt.Sprintf("home %d, %s: %s", w.Home, w.Attack, end), "#d52", w.Claim},
	} {
		top := 24 + row*(height+gap)
		at := func(i int, wh uint64) (float64, float64) {
			return left + float64(i)*width/float64(len(w.Bound)), float64(top) + height*(1-float64(wh)/float64(most))
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", left, top-8, panel.title)
		fmt.Fprintf(&b, `<polygon fill="%s" points="%d,%d`, panel.colour, left, top+height)
		for i, wh := range panel.wh {
			x, y := at(i, uint64(wh))
			fmt.Fprintf(&b, " %.1f,%.1f", x, y)
		}
		fmt.Fprintf(&b, ` %d,%d"/>`+"\n"+`<polyline fill="none" stroke="#333" points="`, left+width, top+height)
		for i, wh := range w.Bound {
			x, y := at(i, wh)
			fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
		}
		fmt.Fprintln(&b, `"/>`)
		fmt.Fprintf(&b, `<path stroke="#999" d="M%d %dH%dM%d %dV%d"/>`+"\n",
			left, top+height, left+width, left, top, top+height)
		fmt.Fprintf(&b, `<text x="4" y="%d">%d Wh</text><text x="4" y="%d">0</text>`+"\n", top+10, most, top+height)
		for d := range windowLong {
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#666">day %d</text>`+"\n",
				left+d*width/windowLong+4, top+height+14, d+1)
		}
	}
	const legend = "line: the bound of the device's envelope, for each quarter hour"
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#333">%s</text>`+"\n</svg>\n", left, 2*(height+gap)+16, legend)
	return b.Bytes()
}
