// Package citylearn reads homes that were recorded, in the files of the CityLearn challenges: home_1.csv,
// home_2.csv … of a folder, each a line of names and then a row of numbers for each hour.
//
// Which columns are read is up to the caller; the names are those of the challenge of 2022 (month, hour, day_type,
// non_shiftable_load, solar_generation).
package citylearn

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The columns of which more than one reader knows.
const (
	Load  = "non_shiftable_load" // kWh that the household used in the hour
	Solar = "solar_generation"   // W for each kW of panels, averaged over the hour
)

// Column is a column that is read.
type Column struct {
	Name     string
	From, To float64 // what its numbers may be
	Optional bool    // a file without it has zeros
}

// Columns are those that all readers want. A home draws less than a megawatt.
var Columns = []Column{{Name: Load, To: 1000}, {Name: Solar, To: 10_000}}

// Home is what one file holds: by column, a number for each row.
type Home map[string][]float64

// Rows is how many there are.
func (h Home) Rows() int { return len(h[Load]) }

// Limit bounds what is read.
type Limit struct {
	Homes int // what is numbered higher is not looked at
	Rows  int // of each file; one with more is refused
}

// Read reads the homes of a folder, from home_1.csv up to the first number that is missing. Columns are read besides
// Columns.
func Read(dir string, most Limit, columns ...Column) ([]Home, error) {
	columns = append(columns, Columns...)
	var homes []Home
	for n := 1; n <= most.Homes; n++ {
		name := fmt.Sprintf("home_%d.csv", n)
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		h, err := read(f, most.Rows, columns)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		homes = append(homes, h)
	}
	if len(homes) == 0 {
		return nil, fmt.Errorf("%s holds no home_1.csv: %w", dir, fs.ErrNotExist)
	}
	return homes, nil
}

// read reads one file.
func read(in io.Reader, most int, columns []Column) (Home, error) {
	c := csv.NewReader(in)
	c.ReuseRecord = true
	names, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("the line of names: %w", err)
	}
	at := map[string]int{}
	for i, n := range names {
		at[strings.TrimSpace(n)] = i
	}
	for _, col := range columns {
		if _, ok := at[col.Name]; !ok && !col.Optional {
			return nil, fmt.Errorf("no column %s", col.Name)
		}
	}
	h := Home{}
	for n := 1; ; n++ {
		row, err := c.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if n > most {
			return nil, fmt.Errorf("more than %d rows", most)
		}
		for _, col := range columns {
			x := 0.0
			if i, ok := at[col.Name]; ok {
				x, err = strconv.ParseFloat(strings.TrimSpace(row[i]), 64)
				if err != nil || !(x >= col.From && x <= col.To) { // not a number is neither
					return nil, fmt.Errorf("row %d: %s is %.40q, want %v to %v", n, col.Name, row[i], col.From, col.To)
				}
			}
			h[col.Name] = append(h[col.Name], x)
		}
	}
	if h.Rows() == 0 {
		return nil, errors.New("no rows")
	}
	return h, nil
}
