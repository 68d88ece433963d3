package main

import (
	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/role/command"
)

// verbs lists Cairn's own commands, and those that categories bring along.
func verbs() []*cobra.Command {
	list := []*cobra.Command{
		upCommand(), downCommand(), doctorCommand(), storeCommand(), deviceCommand(), claimCommand(), creditCommand(), accountCommand(),
		tallyCommand(), supplyCommand(), walletCommand(),
	}
	for _, c := range customer.Customers() {
		if c, ok := c.(command.Commander); ok {
			list = append(list, c.Command(shell{}))
		}
	}
	return list
}
