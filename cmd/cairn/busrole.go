package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/network"
)

// networkFlags gives a command that joins a network --network and --signer.
func networkFlags(c *cobra.Command) {
	c.Flags().String("network", "", "the network's manifest, a file or an https URL: it says where everything is")
	c.Flags().String("signer", "", "the key that must have signed the manifest, did:key:…")
}

// joinNetwork keeps the manifest that --network names in a home and returns it; nil without the flag.
func joinNetwork(c *cobra.Command, home string) (*manifest.Manifest, error) {
	where, _ := c.Flags().GetString("network")
	if where == "" {
		return nil, nil
	}
	signer, err := signerOf(c)
	if err != nil {
		return nil, err
	}
	signed, err := manifest.Fetch(c.Context(), where)
	if err != nil {
		return nil, err
	}
	if err := manifest.Keep(home, signed, signer); err != nil {
		return nil, err
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s, as %v says\n", signed.Manifest.Chain, signed.Signer)
	return &signed.Manifest, nil
}

// published is the URL of --network; "" for a file, which nobody publishes anew.
func published(c *cobra.Command) string {
	where, _ := c.Flags().GetString("network")
	return manifest.Published(where)
}

func busCommand() *cobra.Command {
	key := roleKey("bus", "Print the key by which the other servers of the bus know this one, and make it where there is none",
		"", network.BusKey)
	return roleCommand(network.Bus(), "Run a server of the message bus", func(c *cobra.Command) {
		networkFlags(c)
		c.Flags().String("chain", "", "the chain's id (default as the manifest says)")
		c.Flags().StringSlice("rpc", nil, "RPC nodes of the chain, http://host:port (default as the manifest says)")
		c.Flags().String("listen", "", "where clients reach it, host:port (default as in the settings)")
		c.Flags().String("listen-servers", "", "where the other servers of the bus reach it, host:port")
		c.Flags().StringSlice("server", nil, "another server of the bus, KEY@HOST:PORT: its key (cairn bus key) and its --listen-servers; once for each")
		c.Flags().StringSlice("gateway", nil, "the key of a gateway that may log on, did:key:…; once for each")
	}, func(c *cobra.Command, home string, s *network.BusSettings) error {
		m, err := joinNetwork(c, home)
		if err != nil {
			return err
		}
		if m != nil {
			s.Chain.Join(m)
		}
		takeFlags(c, map[string]any{"chain": &s.Chain.ID, "rpc": &s.Chain.RPC, "listen": &s.Listen, "listen-servers": &s.Cluster.Listen})
		if err := serversOf(c, s); err != nil {
			return usageError{c.CommandPath(), err}
		}
		_, err = network.BusKey(home)
		return err
	}, key)
}

// serversOf reads --server and --gateway.
func serversOf(c *cobra.Command, s *network.BusSettings) error {
	servers, _ := c.Flags().GetStringSlice("server")
	for _, text := range servers {
		key, address, _ := strings.Cut(text, "@")
		server := network.BusServer{Address: address}
		if err := server.Key.UnmarshalText([]byte(key)); err != nil {
			return fmt.Errorf("--server %s: %w", text, err)
		}
		s.Cluster.Servers = append(s.Cluster.Servers, server)
	}
	gateways, _ := c.Flags().GetStringSlice("gateway")
	for _, text := range gateways {
		var key types.Key
		if err := key.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("--gateway %s: %w", text, err)
		}
		s.Gateways = append(s.Gateways, key)
	}
	return nil
}

// takeFlags sets what flags say that were given.
func takeFlags(c *cobra.Command, to map[string]any) {
	for name, v := range to {
		if !c.Flags().Changed(name) {
			continue
		}
		switch v := v.(type) {
		case *string:
			*v, _ = c.Flags().GetString(name)
		case *[]string:
			*v, _ = c.Flags().GetStringSlice(name)
		}
	}
}
