package command

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestDirection holds degrees to the cells that h3-js finds for them.
func TestDirection(t *testing.T) {
	raw, err := os.ReadFile("../../core/types/testdata/h3/cells.json")
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
		if got := types.CellAt(direction(p[0].(float64), p[1].(float64)), want.Resolution()); got != want {
			t.Errorf("%v, %v: %v, want %v", p[0], p[1], got, want)
		}
	}
	for _, pole := range [][2]float64{{90, 0}, {-90, 77}, {0, 180}, {0, -180}} {
		if types.CellAt(direction(pole[0], pole[1]), placeResolution) == 0 {
			t.Errorf("%v is nowhere", pole)
		}
	}
}
