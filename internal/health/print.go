package health

import (
	"fmt"
	"io"
)

// Print writes findings for people: what is in order in one line each, the rest with what is lost and what to do.
func Print(w io.Writer, list []Finding) {
	for _, f := range list {
		fmt.Fprintf(w, "%-4s  %s: %s\n", f.Level, f.What, f.Text)
		for _, line := range []struct{ name, text string }{{"lost", f.Lost}, {"moved", f.Mended}, {"try", f.Try}} {
			if line.text != "" {
				fmt.Fprintf(w, "      %s: %s\n", line.name, line.text)
			}
		}
	}
}
