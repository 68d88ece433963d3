package geo

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestDirection holds degrees to the cells that h3-js finds for them.
func TestDirection(t *testing.T) {
	raw, err := os.ReadFile("../../../core/types/testdata/h3/cells.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Points [][3]any `json:"points"`
	}
	if err := json.Unmarshal(raw, &golden); err != nil || len(golden.Points) < 100 {
		t.Fatal(len(golden.Points), err)
	}
	for _, p := range golden.Points {
		want, err := types.ParseCell(p[2].(string))
		if err != nil {
			t.Fatal(err)
		}
		if got := types.CellAt(Direction(p[0].(float64), p[1].(float64)), want.Resolution()); got != want {
			t.Errorf("%v, %v: %v, want %v", p[0], p[1], got, want)
		}
	}
	for _, edge := range [][2]float64{{90, 0}, {-90, 77}, {0, 180}, {0, -180}} {
		if types.CellAt(Direction(edge[0], edge[1]), 7) == 0 {
			t.Errorf("%v is nowhere", edge)
		}
	}
}

// TestFacing: a level panel looks up, one that stands looks along the ground, and the ways of the compass are where
// they should be.
func TestFacing(t *testing.T) {
	up := Float(Direction(50, 8))
	east, north := up.Level()
	minus := func(v Vector) Vector { return Vector{-v[0], -v[1], -v[2]} }
	for _, c := range []struct {
		tilt, azimuth float64
		want          Vector
	}{
		{0, 123, up}, {90, 0, north}, {90, 90, east}, {90, 180, minus(north)}, {90, 270, minus(east)}, {90, 360, north},
	} {
		if got := up.Facing(c.tilt, c.azimuth); math.Abs(got.Dot(c.want)-1) > 1e-12 {
			t.Errorf("%v, %v: %v, want %v", c.tilt, c.azimuth, got, c.want)
		}
	}
	// North is towards the pole, east is where the earth turns to; all are of length 1 and at right angles.
	if north[2] <= 0 || Float(Direction(50, 9)).Dot(east) <= 0 {
		t.Errorf("up %v, east %v, north %v", up, east, north)
	}
	for i, v := range []Vector{up, east, north} {
		for k, w := range []Vector{up, east, north} {
			if want := map[bool]float64{true: 1}[i == k]; math.Abs(v.Dot(w)-want) > 1e-12 {
				t.Errorf("%v · %v is %v, want %v", v, w, v.Dot(w), want)
			}
		}
	}
	pole := Vector{0, 0, 1}
	if got := pole.Facing(30, 180); got != pole {
		t.Errorf("at the pole: %v", got)
	}
}
