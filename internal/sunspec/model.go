package sunspec

import (
	"fmt"
	"strconv"
	"strings"
)

// Point is one value of a model.
type Point struct {
	Name   string
	Type   Type
	Offset int    // in words from the model's number
	Words  int    // that it takes
	Scale  string // the point that holds its power of ten, "" for none
}

// Model is the layout of a block.
type Model struct {
	ID     uint16
	Name   string
	Words  int // with its number and length
	Points []Point
	byName map[string]int
}

// Point returns the point of a name, nil for none.
func (m *Model) Point(name string) *Point {
	i, ok := m.byName[name]
	if !ok {
		return nil
	}
	return &m.Points[i]
}

// ModelOf returns the model of a number, nil for one that is not known here.
func ModelOf(id uint16) *Model { return models[id] }

var models = map[uint16]*Model{}

// define enters a model whose points a table gives: a line for each type, with the point of its power of ten
// behind an asterisk, then the names of the points.
func define(id uint16, name, table string) *Model {
	m := &Model{ID: id, Name: name, Words: 2, byName: map[string]int{}}
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		form, names, _ := strings.Cut(line, ": ")
		form, scale, _ := strings.Cut(form, "*")
		of, words := typeOf(form)
		for _, name := range strings.Fields(names) {
			m.byName[name] = len(m.Points)
			m.Points = append(m.Points, Point{Name: name, Type: of, Offset: m.Words, Words: words, Scale: scale})
			m.Words += words
		}
	}
	models[id] = m
	return m
}

// typeOf returns the type of a name in a table, and its words: those of a string stand behind it.
func typeOf(name string) (Type, int) {
	for t, f := range typeForms {
		if f.name == name {
			return Type(t), f.words
		}
	}
	words, err := strconv.Atoi(strings.TrimPrefix(name, typeForms[Text].name))
	if err != nil {
		panic(fmt.Sprintf("sunspec: type %q in a table", name)) // the tables are constants
	}
	return Text, words
}
