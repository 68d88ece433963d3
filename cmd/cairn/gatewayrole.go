package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/network"
)

func gatewayCommand() *cobra.Command {
	key := roleKey("gateway", "Print the key under which it logs on to the bus, and make it where there is none",
		"The operators of the bus have to let this key on: cairn bus init --gateway KEY, or gateways in bus.yaml.", network.GatewayKey)
	return roleCommand(network.Gateway(), "Run a gateway: customers store, order and pay through it", func(c *cobra.Command) {
		networkFlags(c)
		c.Flags().String("chain", "", "the chain's id (default as the manifest says)")
		c.Flags().StringSlice("rpc", nil, "RPC nodes of the chain, http://host:port (default as the manifest says)")
		c.Flags().StringSlice("bus", nil, "servers of the bus, nats://host:port (default as the manifest says)")
		c.Flags().String("listen", "", "where customers reach REST API and page, host:port (default as in the settings)")
		c.Flags().StringSlice("host", nil, "a name that it is reached under, besides addresses and localhost; * for any")
		c.Flags().StringSlice("private", nil, "private addresses where devices may be, 10.0.0.0/8")
		c.Flags().Uint16("region", 0, "the region in which it buys")
	}, func(c *cobra.Command, home string, s *network.GatewaySettings) error {
		m, err := joinNetwork(c, home)
		if err != nil {
			return err
		}
		if m != nil {
			s.Join(m)
			s.Bus.Network = published(c)
		}
		takeFlags(c, map[string]any{"chain": &s.Chain.ID, "rpc": &s.Chain.RPC, "bus": &s.Bus.Servers, "listen": &s.Listen, "host": &s.Hosts})
		region, _ := c.Flags().GetUint16("region")
		s.Region = types.Region(region)
		list, _ := c.Flags().GetStringSlice("private")
		for _, text := range list {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return usageError{c.CommandPath(), fmt.Errorf("--private: %w", err)}
			}
			s.Private = append(s.Private, prefix)
		}
		_, err = network.GatewayKey(home)
		return err
	}, key)
}
