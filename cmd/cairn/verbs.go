package main

import "github.com/spf13/cobra"

// verbs lists Cairn's own commands.
func verbs() []*cobra.Command {
	return []*cobra.Command{
		upCommand(), downCommand(), storeCommand(), deviceCommand(), claimCommand(), creditCommand(), accountCommand(),
		tallyCommand(), supplyCommand(), walletCommand(),
	}
}
