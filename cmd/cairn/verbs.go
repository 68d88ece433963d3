package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/study"
)

// tries are command lines that somebody may try first, as the categories name them.
func tries() (lines []string) {
	for _, c := range customer.Customers() {
		lines = append(lines, c.Tries...)
	}
	return lines
}

// firstTry is the one for which any file will do.
func firstTry() string {
	lines := append(tries(), "credit show")
	return lines[max(0, slices.IndexFunc(lines, func(l string) bool { return strings.HasSuffix(l, " FILE") }))]
}

// verbs lists Cairn's own commands, those that categories bring along, and below these what studies them.
func verbs() []*cobra.Command {
	list := []*cobra.Command{
		upCommand(), downCommand(), doctorCommand(), deviceCommand(), claimCommand(), creditCommand(), accountCommand(),
		tallyCommand(), supplyCommand(), walletCommand(), networkCommand(), joinCommand(), busCommand(), verifierCommand(), gatewayCommand(),
	}
	for _, c := range customer.Customers() {
		if c.Command != nil {
			list = append(list, c.Command(shell{}))
		}
		if c.Shortcuts != nil {
			list = append(list, c.Shortcuts(shell{})...)
		}
	}
	for _, s := range study.Studies() {
		noun := slices.IndexFunc(list, func(c *cobra.Command) bool { return c.Name() == s.Noun })
		list[noun].AddCommand(s.Verbs(shell{})...)
	}
	return list
}
