package main

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Row is one figure as it was measured.
type Row struct {
	Section string  `json:"section"`
	Figure  string  `json:"figure"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Beside  string  `json:"beside"` // what the limit or peer is
	Peer    float64 `json:"peer"`   // its value, in the same unit
	Ratio   float64 `json:"ratio"`  // value ÷ peer
	Target  string  `json:"target"` // of the ratio
	Verdict string  `json:"verdict"`
	Bound   string  `json:"bound,omitempty"` // what bounds the figure
}

// Verdicts.
const (
	met      = "yes"
	missed   = "NO"
	informs  = "–" // the row has no target: it explains another
	unknown  = "not measured"
	maxWidth = 60 // of the last column, before it breaks
)

// table prints rows for a person.
func table(rows []Row) string {
	lines := [][]string{{"figure", "measured", "limit or peer", "", "ratio", "target", "met", "what bounds it"}}
	section := ""
	for _, r := range rows {
		if r.Section != section {
			section = r.Section
			lines = append(lines, []string{strings.ToUpper(section)})
		}
		cells := []string{r.Figure, number(r.Value) + " " + r.Unit, number(r.Peer) + " " + r.Unit, r.Beside, ratio(r.Ratio), r.Target, r.Verdict, ""}
		if r.Verdict == unknown {
			cells[1], cells[2], cells[4] = "", "", ""
		}
		if r.Peer == 0 {
			cells[2], cells[4] = "", ""
		}
		bound := wrap(r.Bound, maxWidth)
		cells[7] = bound[0]
		lines = append(lines, cells)
		for _, more := range bound[1:] {
			lines = append(lines, []string{"", "", "", "", "", "", "", more})
		}
	}
	return align(lines)
}

// align pads columns; numbers lean right.
func align(lines [][]string) string {
	var width [8]int
	for _, l := range lines {
		if len(l) > 1 {
			for i, c := range l {
				width[i] = max(width[i], utf8.RuneCountInString(c))
			}
		}
	}
	var b strings.Builder
	for _, l := range lines {
		var row strings.Builder
		for i, c := range l {
			pad := strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(c)))
			if i == 1 || i == 2 || i == 4 {
				row.WriteString(pad + c)
			} else {
				row.WriteString(c + pad)
			}
			row.WriteString("  ")
		}
		b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	return b.String()
}

// wrap breaks text between words.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// number prints three significant digits, and whole numbers with spaces between thousands.
func number(v float64) string {
	if math.Abs(v) < 100 {
		return fmt.Sprintf("%.3g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune(' ')
		}
		b.WriteRune(d)
	}
	return b.String()
}

func ratio(v float64) string { return fmt.Sprintf("%.2f", v) }
