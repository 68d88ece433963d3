package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/process"
)

func networkCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "network", Short: "A network's manifest: publish it, join by it, look at it",
		Long: `A manifest is one signed file by which everybody joins a network: it names the chain, a block and the verifiers to believe at first, and
where peers, RPC nodes, buses and gateways are. cairn up keeps its own in its home (manifest.json).`,
		Example: "  cairn network join https://example.org/manifest.json --home ~/.cairn-example\n  cairn network show",
	}
	publish := &cobra.Command{
		Use: "publish", Short: "Write and sign a manifest of what a chain says and where things are", Args: exactly(), RunE: networkPublish,
		Long: `publish asks a node of the chain for what only it knows, and signs that with the addresses that the flags name. In the home of a network
that runs (cairn up) what they do not name is as in its own manifest.json.

The key that signs is made with the first manifest (publisher.key in the home). Who joined stays with it: keep a copy.`,
		Example: "  cairn network publish --rpc https://rpc.example.org --bus tls://bus.example.org:4222 --gateway https://gateway.example.org --out manifest.json\n" +
			"  cairn network publish --node http://127.0.0.1:26657 --seed 3f…@node.example.org:26656 --rpc https://rpc.example.org --bus tls://bus.example.org:4222",
	}
	f := publish.Flags()
	f.String("node", "", "the node that is asked (default the first of --rpc, else the home's own)")
	f.StringSlice("rpc", nil, "CometBFT RPC of nodes for everybody: http(s)://host:port")
	f.StringSlice("seed", nil, "nodes for other nodes to connect to: ID@host:port (default those of --rpc, and the one that is asked)")
	f.StringSlice("bus", nil, "the bus: nats://host:port or tls://host:port")
	f.String("bus-ca", "", "a file with the certificates, in PEM, that sign the bus's")
	f.StringSlice("gateway", nil, "gateways: https://host:port")
	f.String("key", "", "the key that signs (default HOME/publisher.key, made where there is none)")
	f.String("out", "", "where it is written, - for standard output (default HOME/manifest.json)")
	homeFlags(publish)
	join := &cobra.Command{
		Use: "join FILE|URL", Short: "Keep a network's manifest in a home, so that commands there work on that network", Args: exactly("FILE|URL"), RunE: networkJoin,
		Long: `The home gets a keyring of its own: cairn account create NAME makes an account there, cairn account restore NAME brings one along. A later
manifest has to be newer and signed by the same key, or by one that --signer names.`,
		Example: "  cairn network join manifest.json --home ~/.cairn-example\n  cairn network join https://example.org/manifest.json --signer did:key:z6Mk…",
	}
	join.Flags().String("signer", "", "the key that has to have signed it: did:key:…")
	join.Flags().String("home", "", "the home (default $CAIRN_HOME, else ~/.cairn)")
	join.Flags().Bool("json", false, "print JSON: stable names, amounts in base units")
	show := &cobra.Command{Use: "show [FILE|URL]", Short: "Show a manifest, and who signed it (default the home's)", Args: cobra.MaximumNArgs(1), RunE: networkShow,
		Example: "  cairn network show\n  cairn network show https://example.org/manifest.json"}
	verify := &cobra.Command{
		Use: "verify [FILE|URL]", Short: "Hold a manifest against the nodes, buses and gateways that it names", Args: cobra.MaximumNArgs(1), RunE: networkVerify,
		Long:    "It says of each place whether it answers, and of each node whether it shows the chain, the genesis and the block of the manifest. It ends with status 1 where one does not.",
		Example: "  cairn network verify\n  cairn network verify https://example.org/manifest.json --signer did:key:z6Mk…",
	}
	for _, v := range []*cobra.Command{show, verify} {
		v.Flags().String("signer", "", "the key that has to have signed it: did:key:…")
		v.Flags().String("home", "", "the home (default $CAIRN_HOME, else ~/.cairn)")
		v.Flags().Bool("json", false, "print JSON: stable names, amounts in base units")
	}
	c.AddCommand(publish, join, show, verify)
	return c
}

// signerOf reads --signer; zero where it is not given.
func signerOf(c *cobra.Command) (key types.Key, err error) {
	if f := c.Flags().Lookup("signer"); f != nil && f.Value.String() != "" {
		if key, err = types.ParseKey(f.Value.String()); err != nil {
			return key, usageError{c.CommandPath(), fmt.Errorf("%s: --signer: %w", c.CommandPath(), err)}
		}
	}
	return key, nil
}

func networkPublish(c *cobra.Command, _ []string) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	f := c.Flags()
	_, err = process.Running(home)
	runs := err == nil
	var old manifest.Manifest
	at := new(network.Addresses)
	if runs {
		if at, err = network.ReadAddresses(home); err != nil {
			return err
		}
		kept, err := manifest.Load(home)
		if err != nil {
			return err
		}
		old = kept.Manifest
	}
	out, _ := f.GetString("out")
	if runs && out == "" {
		return usageError{c.CommandPath(), errors.New("--out is missing: the network that runs in this home writes its manifest.json itself")}
	}
	rpc, _ := f.GetStringSlice("rpc")
	ask, _ := f.GetString("node")
	ask = cmp.Or(ask, append(append([]string{}, rpc...), at.RPC)[0])
	if ask == "" {
		return usageError{c.CommandPath(), errors.New("--rpc or --node is missing: no network runs in this home that could be asked")}
	}
	l, err := client.New(c.Context(), client.Config{URL: ask})
	if err != nil {
		return advice{types.Refuse(types.ChainUnavailable, "network publish: node %s: %v", ask, err), "name one that answers: --node http://host:port"}
	}
	defer l.Close()
	m, err := network.Describe(c.Context(), l)
	if err != nil {
		return fmt.Errorf("network publish: %w", err)
	}
	pick := func(name string, before []string) []string {
		if list, _ := f.GetStringSlice(name); len(list) > 0 {
			return list
		}
		return before
	}
	m.RPC, m.Buses, m.Gateways, m.Seeds = pick("rpc", old.RPC), pick("bus", old.Buses), pick("gateway", old.Gateways), pick("seed", old.Seeds)
	if len(m.Verifiers) == 0 {
		return advice{types.Refuse(types.UnknownVerifier, "network publish: no verifier counts in epoch %d yet, and who joins has to believe some", m.Epoch),
			"cairn verifier register; its keys count one appeal window after the next epoch begins"}
	}
	if len(m.Seeds) == 0 {
		if m.Seeds, err = seedsOf(c, m.Chain, append([]string{ask}, m.RPC...)); err != nil {
			return err
		}
	}
	m.BusCA = old.BusCA
	if path, _ := f.GetString("bus-ca"); path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return usageError{c.CommandPath(), fmt.Errorf("--bus-ca: %w", err)}
		}
		m.BusCA = string(raw)
	}
	key, err := publisherKey(c, home)
	if err != nil {
		return fmt.Errorf("network publish: %w", err)
	}
	if out == "-" {
		signed, err := m.Sign(key)
		if err != nil {
			return advice{fmt.Errorf("network publish: %w", err), "name what is missing: --bus, --rpc, --gateway (--help)"}
		}
		_, err = c.OutOrStdout().Write(signed.Encode())
		return err
	}
	out = cmp.Or(out, filepath.Join(home, manifest.File))
	if raw, err := os.ReadFile(out); err == nil { // also twice within a second
		if before, err := manifest.Parse(raw); err == nil && before.Manifest.Chain == m.Chain {
			m.Published = max(m.Published, before.Manifest.Published+1)
		}
	}
	signed, err := m.Sign(key)
	if err != nil {
		return advice{fmt.Errorf("network publish: %w", err), "name what is missing: --bus, --rpc, --gateway (--help)"}
	}
	if err := files.Replace(out, signed.Encode(), 0o644); err != nil {
		return fmt.Errorf("network publish: %w: %w", err, types.HomeUnwritable)
	}
	return outputOf(c).print(map[string]string{"manifest": out, "signer": signed.Signer.String()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s\nsigned by %v: tell it to those who join\n", out, signed.Signer)
	})
}

// seedsOf asks nodes how other nodes connect to them. Of all but the first, one that does not answer is left out.
func seedsOf(c *cobra.Command, chain string, nodes []string) (seeds []string, err error) {
	for i, node := range nodes {
		seed, err := peerOf(c.Context(), chain, node)
		switch {
		case err == nil && !slices.Contains(seeds, seed):
			seeds = append(seeds, seed)
		case err != nil && i == 0:
			return nil, fmt.Errorf("network publish: %w", err)
		case err != nil:
			fmt.Fprintf(c.ErrOrStderr(), "%s is left out of the seeds: %v\n", node, err)
		}
	}
	return seeds, nil
}

// peerOf asks a node of a chain how other nodes connect to it.
func peerOf(ctx context.Context, chain, node string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	u, err := url.Parse(node)
	if err != nil {
		return "", err
	}
	l, err := client.New(ctx, client.Config{URL: node, Chain: chain})
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Peer(ctx, u.Hostname())
}

// publisherKey is the key that --key names, or the home's.
func publisherKey(c *cobra.Command, home string) (types.PrivateKey, error) {
	if path, _ := c.Flags().GetString("key"); path != "" {
		key, err := files.EnsureKey(path)
		if err != nil {
			return types.PrivateKey{}, err
		}
		return types.NewPrivateKey([32]byte(key.Seed())), nil
	}
	return network.PublisherKey(home)
}

// manifestOf is the manifest that a command's argument names, or the home's.
func manifestOf(c *cobra.Command, args []string) (*manifest.Signed, error) {
	signer, err := signerOf(c)
	if err != nil {
		return nil, err
	}
	var m *manifest.Signed
	if len(args) > 0 {
		m, err = manifest.Fetch(c.Context(), args[0])
	} else {
		home, herr := homeOf(c)
		if herr != nil {
			return nil, herr
		}
		if m, err = manifest.Load(home); errors.Is(err, fs.ErrNotExist) {
			return nil, advice{types.Refuse(types.NotFound, "%s belongs to no network", home), "cairn network join FILE|URL"}
		}
	}
	if err != nil {
		return nil, err
	}
	return m, m.Demand(signer)
}

func networkJoin(c *cobra.Command, args []string) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	signer, err := signerOf(c)
	if err != nil {
		return err
	}
	if network.Made(home) {
		return advice{types.Refuse(types.HomeBusy, "network join: %s is the home of a network of its own", home), "name another home: --home DIR"}
	}
	m, err := manifest.Fetch(c.Context(), args[0])
	if err != nil {
		return fmt.Errorf("network join: %w", err)
	}
	if err := manifest.Keep(home, m, signer); err != nil {
		return fmt.Errorf("network join: %w", err)
	}
	return outputOf(c).print(map[string]string{"chain": m.Manifest.Chain, "signer": m.Signer.String(), "home": home}, func(w io.Writer) {
		fmt.Fprintf(w, "%s belongs to %s now\nsigned by %v: from now on only that key changes it\n", home, m.Manifest.Chain, m.Signer)
	})
}

func networkShow(c *cobra.Command, args []string) error {
	m, err := manifestOf(c, args)
	if err != nil {
		return fmt.Errorf("network show: %w", err)
	}
	shown := struct {
		Signer   types.Key         `json:"signer"`
		Manifest manifest.Manifest `json:"manifest"`
	}{m.Signer, m.Manifest}
	return outputOf(c).print(shown, func(w io.Writer) {
		at, _ := m.Manifest.Published.MarshalText()
		fmt.Fprintf(w, "network   %s, published %s\nsigner    %v\ngenesis   %v\nblock     %v\nverifiers %d, of epoch %d\nregions   %d\n", m.Manifest.Chain, at, m.Signer,
			m.Manifest.Genesis, m.Manifest.Block, len(m.Manifest.Verifiers), m.Manifest.Epoch, m.Manifest.Regions)
		for _, list := range []struct {
			name   string
			places []string
		}{{"seeds", m.Manifest.Seeds}, {"rpc", m.Manifest.RPC}, {"buses", m.Manifest.Buses}, {"gateways", m.Manifest.Gateways}} {
			fmt.Fprintf(w, "%-9s %s\n", list.name, cmp.Or(strings.Join(list.places, " "), "none"))
		}
	})
}

// Place is what `cairn network verify` says of one place.
type Place struct {
	Kind  string `json:"kind"`
	Place string `json:"place"`
	OK    bool   `json:"ok"`
	Why   string `json:"why,omitempty"`
}

// placePatience is how long one place has to answer.
const placePatience = 10 * time.Second

func networkVerify(c *cobra.Command, args []string) error {
	m, err := manifestOf(c, args)
	if err != nil {
		return fmt.Errorf("network verify: %w", err)
	}
	list, bad := []Place{}, 0
	look := func(kind, place string, do func(context.Context) error) {
		ctx, cancel := context.WithTimeout(c.Context(), placePatience)
		defer cancel()
		p := Place{Kind: kind, Place: place, OK: true}
		if err := do(ctx); err != nil {
			p.OK, p.Why = false, err.Error()
			bad++
		}
		list = append(list, p)
	}
	for _, place := range m.Manifest.RPC {
		look("rpc", place, func(ctx context.Context) error { return verifyNode(ctx, &m.Manifest, place) })
	}
	dial := func(address string) func(context.Context) error {
		return func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err == nil {
				conn.Close()
			}
			return err
		}
	}
	for _, place := range m.Manifest.Seeds {
		_, address, _ := strings.Cut(place, "@")
		look("seed", place, dial(address))
	}
	for _, place := range m.Manifest.Buses {
		u, err := url.Parse(place)
		if err != nil {
			return err
		}
		look("bus", place, dial(net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222"))))
	}
	for _, place := range m.Manifest.Gateways {
		look("gateway", place, func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, "GET", strings.TrimRight(place, "/")+"/openapi.json", nil)
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return errors.New(res.Status)
			}
			return nil
		})
	}
	err = outputOf(c).print(list, func(w io.Writer) {
		fmt.Fprintf(w, "%s, signed by %v\n", m.Manifest.Chain, m.Signer)
		for _, p := range list {
			if p.OK {
				fmt.Fprintf(w, "ok      %-8s %s\n", p.Kind, p.Place)
			} else {
				fmt.Fprintf(w, "missing %-8s %s: %s\n", p.Kind, p.Place, p.Why)
			}
		}
	})
	if err == nil && bad > 0 {
		return fmt.Errorf("network verify: %d of %d places are not as the manifest says: %w", bad, len(list), types.ChainUnavailable)
	}
	return err
}

// verifyNode holds what a node shows against a manifest.
func verifyNode(ctx context.Context, m *manifest.Manifest, place string) error {
	l, err := client.New(ctx, client.Config{URLs: []string{place}, Chain: m.Chain, Pin: &client.Pin{Height: m.Block.Height, Hash: m.Block.Hash}})
	if err != nil {
		return err
	}
	defer l.Close()
	genesis, err := l.Genesis(ctx)
	if err == nil && genesis != m.Genesis {
		err = types.Refuse(types.WrongChain, "its genesis is %v", genesis)
	}
	return err
}
