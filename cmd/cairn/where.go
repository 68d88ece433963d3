package main

import (
	"cmp"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/network"
)

// placeFlags gives a command --network and --api, beside homeFlags: it works on the network of the home, or on
// one elsewhere.
func placeFlags(c *cobra.Command) *cobra.Command {
	c.Flags().String("network", "", "the network: its manifest, a file or URL (default the one that runs in the home, or that the home joined)")
	c.Flags().String("signer", "", "the key that has to have signed that manifest: did:key:…")
	c.Flags().String("api", "", "the gateway: http(s)://host:port (default $CAIRN_API, else the home's, or the manifest's first)")
	return homeFlags(c)
}

// place is where a command works: the network that runs in a home, or one elsewhere that a manifest describes.
type place struct {
	home string
	runs *network.Addresses // of the network in the home; nil for one elsewhere
	far  *manifest.Manifest // nil for the network in the home
	api  string             // of the gateway; "" where none is known
}

// placeOf finds out where a command works. Without a network it says how to get to one.
func placeOf(c *cobra.Command) (*place, error) {
	home, err := homeOf(c)
	if err != nil {
		return nil, err
	}
	p := &place{home: home}
	text := func(name string) string {
		if f := c.Flags().Lookup(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	kept, err := manifest.Load(home)
	switch {
	case text("network") != "":
		if p.far, err = fetched(c, text("network"), home, kept); err != nil {
			return nil, err
		}
	case network.Made(home):
		if p.runs, err = network.ReadAddresses(home); err != nil {
			return nil, advice{err, "make up, or: cairn up --home " + home}
		}
		p.api = p.runs.API
	case errors.Is(err, fs.ErrNotExist):
		return nil, advice{types.Refuse(types.NotRunning, "%s: no network runs here, and none was joined", home),
			"make up (cairn up --home " + home + "), or join one elsewhere: cairn network join FILE|URL"}
	case err != nil:
		return nil, err
	default:
		signer, err := signerOf(c)
		if err == nil {
			err = kept.Demand(signer)
		}
		if err != nil {
			return nil, err
		}
		p.far = &kept.Manifest
	}
	if p.far != nil && len(p.far.Gateways) > 0 {
		p.api = p.far.Gateways[0]
	}
	if at := cmp.Or(text("api"), os.Getenv("CAIRN_API")); at != "" {
		if !manifest.IsGateway(at) {
			return nil, usageError{c.CommandPath(), types.Refuse(types.BadArgument, "--api %s: want https://host:port; http only on this machine and in private networks, as the API key goes there", at)}
		}
		p.api = at
	}
	p.api = strings.TrimRight(p.api, "/")
	return p, nil
}

// fetched returns the manifest that --network names. It does not go against what the home has joined.
func fetched(c *cobra.Command, where, home string, kept *manifest.Signed) (*manifest.Manifest, error) {
	signer, err := signerOf(c)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Fetch(c.Context(), where)
	if err == nil {
		err = m.Demand(signer)
	}
	if err == nil && kept != nil && kept.Manifest.Chain == m.Manifest.Chain && kept.Signer != m.Signer && signer.IsZero() {
		err = types.Refuse(types.OtherSigner, "%s is signed by %v, and the manifest of %s by %v", where, m.Signer, home, kept.Signer)
	}
	if err != nil {
		return nil, err
	}
	return &m.Manifest, nil
}

// gateway returns the gateway's address, or says that none is known.
func (p *place) gateway() (string, error) {
	if p.api == "" {
		return "", advice{types.Refuse(types.NotFound, "%s names no gateway", p.far.Chain), "name one: --api https://host:port"}
	}
	return p.api, nil
}

// keyName is the name under which a home keeps the API key of an account at the gateway. That of the network in
// the home has the account's own.
func (p *place) keyName(account string) string {
	if p.runs != nil && p.api == p.runs.API {
		return account
	}
	u, err := url.Parse(p.api)
	if err != nil || u.Host == "" {
		return account
	}
	return account + "@" + u.Host
}

// ledger connects to the chain, with the keys of the home. The caller closes it.
func (p *place) ledger(c *cobra.Command) (*client.Client, error) {
	keys, err := local.Keyring(filepath.Join(p.home, network.KeyringDir), app.NewEncoding().Codec)
	if err != nil {
		return nil, err
	}
	cfg, try := client.Config{Keyring: keys}, "is the network still running? make up"
	if p.runs != nil {
		cfg.URL = p.runs.RPC
	} else {
		if len(p.far.RPC) == 0 {
			return nil, advice{types.Refuse(types.NotFound, "the manifest of %s names no RPC node", p.far.Chain), "take a newer one from whoever publishes it"}
		}
		cfg.URLs, cfg.Chain, cfg.Pin = p.far.RPC, p.far.Chain, &client.Pin{Height: p.far.Block.Height, Hash: p.far.Block.Hash}
		try = "look whether they can be reached: cairn network verify; a newer manifest may name others"
	}
	l, err := client.New(c.Context(), cfg)
	if err != nil {
		return nil, advice{types.Refuse(types.ChainUnavailable, "chain: %v", err), try}
	}
	return l, nil
}
