package citylearn

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// month is a column that a reader wants besides.
var month = Column{Name: "month", From: 1, To: 12}

// folder writes files, home_1.csv first.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range files {
		name := "home_" + string(rune('1'+i)) + ".csv"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRead: columns are found by name, wherever they stand; those that nobody asked for may hold anything.
func TestRead(t *testing.T) {
	limit := Limit{Homes: 2, Rows: 2}
	optional := Column{Name: "day_type", To: 8, Optional: true}
	dir := folder(t,
		"note, solar_generation,month,non_shiftable_load\nx,700.5,7,0.25\ny, 0 ,8,1e0\n",
		"non_shiftable_load,solar_generation,month,day_type\n0,0,12,8\n",
		"not looked at\n")
	got, err := Read(dir, limit, month, optional)
	if err != nil {
		t.Fatal(err)
	}
	want := []Home{
		{Load: {0.25, 1}, Solar: {700.5, 0}, "month": {7, 8}, "day_type": {0, 0}},
		{Load: {0}, Solar: {0}, "month": {12}, "day_type": {8}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got[0].Rows() != 2 || got[1].Rows() != 1 {
		t.Errorf("%d and %d rows", got[0].Rows(), got[1].Rows())
	}
}

// TestRefused: what cannot be read says which file, row and column it is.
func TestRefused(t *testing.T) {
	const good = "month,non_shiftable_load,solar_generation\n"
	for text, want := range map[string]string{
		"":                           "home_1.csv: the line of names",
		"a,b\n1,2\n":                 "home_1.csv: no column month",
		"month\n1\n":                 "home_1.csv: no column non_shiftable_load",
		good:                         "home_1.csv: no rows",
		good + "1,2\n":               "home_1.csv: record on line 2: wrong number of fields",
		good + "1,1,x\n":             `home_1.csv: row 1: solar_generation is "x"`,
		good + "1,1,1\n1,-1,2\n":     `home_1.csv: row 2: non_shiftable_load is "-1"`,
		good + "1,NaN,2\n":           `home_1.csv: row 1: non_shiftable_load is "NaN"`,
		good + "1,1,Inf\n":           `home_1.csv: row 1: solar_generation is "Inf"`,
		good + "0,1,1\n":             `home_1.csv: row 1: month is "0", want 1 to 12`,
		good + "1,1,1\n1,1,1\n2,2,2": "home_1.csv: more than 2 rows",
	} {
		_, err := Read(folder(t, text), Limit{Homes: 1, Rows: 2}, month)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := Read(folder(t), Limit{Homes: 1, Rows: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
}
