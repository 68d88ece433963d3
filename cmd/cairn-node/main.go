// Command cairn-node is what runs on a device: a small static program without chain code.
package main

import (
	"context"
	"os"

	"github.com/cairn-network/cairn/internal/buildinfo"
	"github.com/cairn-network/cairn/node/command"
	"github.com/cairn-network/cairn/service/all/provider"
)

func main() {
	root := command.New(provider.Devices())
	root.Use = "cairn-node"
	root.Version = buildinfo.Version
	os.Exit(command.Run(context.Background(), root, os.Args[1:], os.Stderr))
}
