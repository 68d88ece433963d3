// Package study lists the studies of the categories: one line per category that has one. A study is what a
// person runs at a desk, with figures about the category's own rules; neither a device, a gateway nor a
// verifier needs it. Therefore only a program of cmd imports this list, and only this list imports a study
// (internal/arch).
package study

import (
	"github.com/spf13/cobra"

	energy "github.com/cairn-network/cairn/service/energy/study"
	"github.com/cairn-network/cairn/service/role/command"
)

// Study is a category's.
type Study struct {
	Noun  string                               // of the category: `cairn NOUN`
	Verbs func(command.Shell) []*cobra.Command // that are added to it
}

// Studies returns the studies, in the order of their categories' numbers.
func Studies() []Study {
	return []Study{
		{"energy", energy.Commands},
	}
}
