package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/service/all/spec"
	"github.com/cairn-network/cairn/service/role/command"
	"github.com/cairn-network/cairn/verifier"
)

// trustPeriod is for how long a block is believed: two thirds of the three weeks for which stake can still be taken.
const trustPeriod = 14 * 24 * time.Hour

func tallyVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "verify", Short: "Recompute a tally from what everybody signed, and hold its inputs against the chain", Args: exactly(), RunE: tallyVerify,
		Long: `verify computes the header of one epoch from its bundle (batch, registry changes, frame, the state before) and holds it and each of
these inputs against the chain. The chain's answers are proven: CometBFT's light client goes from a block that you believe to the
newest one, whose state they belong to. It prints what was checked and what was taken on trust.

In the home of a running network, or of one that it joined, it downloads the bundle into HOME/bundles from the page beside the gateway; anywhere else it
takes it from there, or from --bundle DIR.
The block that is believed is, in this order: --trust; what an earlier verify kept in HOME/trust.json; what the network wrote into
network.json or manifest.json; and if there is none, the newest block of the node itself, which then is only the node's word.

Without a chain (--offline, or a home without a network) only --header can say what the header must be. Without that, the bundle can
be no more than consistent with itself.

Exit status: 0 equal; 1 not equal, or it could not be tried; 2 usage; 3 consistent with itself, and held against nothing.`,
		Example: "  cairn tally verify --epoch 12\n  cairn tally verify --epoch 12 --node https://rpc.example.org --trust 81234:5f3a… --bundle bundles\n" +
			"  cairn tally verify --epoch 12 --offline --header 5f3a…",
	}
	f := c.Flags()
	f.Uint64("epoch", 0, "which epoch")
	f.Uint16("region", 0, "which region")
	f.String("bundle", "", "folder that holds the bundle (default HOME/bundles)")
	f.String("header", "", "hash that the header must have (default what the chain took)")
	f.StringSlice("node", nil, "CometBFT RPC of a node of the chain, and of further ones that must agree with it (default the home's)")
	f.String("trust", "", "block that is believed, HEIGHT:HASH")
	f.Duration("trust-period", trustPeriod, "how old it may be: less than the chain's time of unbonding")
	f.Bool("offline", false, "ask no chain")
	return placeFlags(c)
}

// trusted is something that verify takes on trust.
type trusted struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Verdicts.
const (
	verdictEqual      = "equal"
	verdictConsistent = "consistent" // with itself, and held against nothing
	verdictDifferent  = "different"
)

// verification is what verify found.
type verification struct {
	Header     types.Hash         `json:"header"`   // what the signed items give
	Expected   types.Hash         `json:"expected"` // what the chain took, or the caller named; zero if neither
	Verdict    string             `json:"verdict"`
	Equal      bool               `json:"equal"`
	Consistent bool               `json:"consistent"` // the bundle's inputs give the bundle's own header
	Why        string             `json:"why,omitempty"`
	Checked    []string           `json:"checked"`
	Differs    []verifier.Finding `json:"differs,omitempty"`
	Trusted    []trusted          `json:"trusted"`
}

// inconclusive says that something was tried and shows less than was asked for: exit status 3.
type inconclusive struct{ error }

func (i inconclusive) Unwrap() error { return i.error }

// believed is a block from which a light client goes on, and where it is from.
type believed struct {
	client.Pin
	from string
}

func tallyVerify(c *cobra.Command, _ []string) error {
	e, _ := c.Flags().GetUint64("epoch")
	r, _ := c.Flags().GetUint16("region")
	epoch, region := types.Epoch(e), types.Region(r)
	if epoch == 0 {
		return usageError{c.CommandPath(), errors.New("tally verify: which --epoch?")}
	}
	var expected types.Hash
	if text, _ := c.Flags().GetString("header"); text != "" {
		var err error
		if expected, err = types.ParseHash(text); err != nil {
			return usageError{c.CommandPath(), err}
		}
	}
	l, err := verifyLedger(c)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
	}
	if l != nil {
		if err := taken(c, l, epoch, region); err != nil {
			return err
		}
	}
	raw, err := bundleOf(c, l != nil, epoch, region)
	if err != nil {
		return err
	}
	var out *verification
	switch b, bad := verifier.ParseBundle(raw); {
	case bad != nil: // every byte counts: it is as good as another tally's
		out = &verification{Expected: expected, Verdict: verdictDifferent, Why: bad.Error(), Checked: []string{}, Trusted: []trusted{}}
	case l == nil:
		out, err = verifyOffline(b, expected)
	default:
		out, err = verifyOnline(c, l, b, epoch, region, expected)
	}
	if err != nil {
		return err
	}
	if err := outputOf(c).print(out, out.write); err != nil {
		return err
	}
	at := fmt.Sprintf("tally verify: epoch %d, region %d", epoch, region)
	switch out.Verdict {
	case verdictEqual:
		return nil
	case verdictConsistent:
		return inconclusive{advice{types.Refuse(types.NotProven, "%s: consistent with itself, and held against nothing", at), "ask a chain with --node URL, or name what the header must be with --header"}}
	}
	return advice{types.Refuse(types.Mismatch, "%s: not equal: %s", at, out.Why), "fetch the bundle from another verifier; if it stays so, appeal"}
}

// taken refuses to go on where the node says that there is no header: then nobody has a bundle either.
func taken(c *cobra.Command, l *client.Client, e types.Epoch, r types.Region) error {
	h, err := l.Header(c.Context(), e, r)
	switch {
	case errors.Is(err, ledger.ErrNotFound), err == nil && h.Raw == nil:
		return noHeader(e, r)
	case err != nil:
		return fmt.Errorf("tally verify: header of epoch %d: %w", e, err)
	}
	return nil
}

func noHeader(e types.Epoch, r types.Region) error {
	return advice{types.Refuse(types.NotFound, "tally verify: epoch %d of region %d has no header", e, r), "cairn tally list shows those that have one"}
}

// write prints what was found for people.
func (v *verification) write(w io.Writer) {
	fmt.Fprintf(w, "recomputed  %v\n", v.Header)
	if !v.Expected.IsZero() {
		fmt.Fprintf(w, "expected    %v\n", v.Expected)
	}
	if len(v.Checked) > 0 {
		fmt.Fprintf(w, "checked     %s\n", strings.Join(v.Checked, ", "))
	}
	for _, d := range v.Differs {
		fmt.Fprintf(w, "differs     %s: %s\n", d.Part, d.Why)
	}
	for _, t := range v.Trusted {
		fmt.Fprintf(w, "on trust    %s: %s\n", t.What, t.Why)
	}
	switch v.Verdict {
	case verdictEqual:
		fmt.Fprintln(w, "equal")
	case verdictConsistent:
		fmt.Fprintln(w, "consistent with itself")
	}
}

// recomputed is the outcome of computing a header from a bundle, as far as that goes.
func recomputed(b *verifier.Bundle, expected types.Hash) (*verifier.Check, *verification, error) {
	check, err := verifier.Recompute(b, expected, 1, spec.Categories(), runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, nil, fmt.Errorf("tally verify: %w", err)
	}
	return check, &verification{
		Header: check.Header, Expected: expected, Consistent: !check.Header.IsZero() && check.Header == types.Sum(b.Header), Checked: []string{},
		Trusted: []trusted{{"rules", "those of this program, version 1"}},
	}, nil
}

// verifyOffline holds a bundle against itself, and against a header if one is named.
func verifyOffline(b *verifier.Bundle, expected types.Hash) (*verification, error) {
	check, out, err := recomputed(b, expected)
	if err != nil {
		return nil, err
	}
	out.Why = check.Why
	switch {
	case !check.Equal:
		out.Verdict = verdictDifferent
	case expected.IsZero():
		out.Verdict = verdictConsistent
		out.Trusted = append(out.Trusted, trusted{"everything", "no chain was asked, so the whole bundle may be made up"})
	default:
		out.Verdict, out.Equal, out.Checked = verdictEqual, true, []string{verifier.PartHeader}
		out.Trusted = append(out.Trusted,
			trusted{verifier.PartHeader, "that the chain took the one you named"},
			trusted{"inputs", "that its registry changes, seed, settlement and block hashes are the chain's: the word of those who signed it"})
	}
	return out, nil
}

// verifyOnline holds a bundle and all that it was made from against the chain.
func verifyOnline(c *cobra.Command, l *client.Client, b *verifier.Bundle, e types.Epoch, r types.Region, expected types.Hash) (*verification, error) {
	src, pin, err := prove(c, l)
	if err != nil {
		return nil, err
	}
	found, err := verifier.Compare(c.Context(), src, b, e, r)
	switch {
	case errors.Is(err, ledger.ErrNotFound), types.ReasonOf(err) == types.RegionSkipped:
		return nil, noHeader(e, r)
	case err != nil:
		return nil, advice{types.Refuse(types.NotProven, "tally verify: %v", err), "ask another node with --node"}
	}
	if expected.IsZero() {
		expected = found.Header.Hash
	}
	check, out, err := recomputed(b, expected)
	if err != nil {
		return nil, err
	}
	check.Add(found)
	if expected != found.Header.Hash {
		check.Equal, check.Why = false, fmt.Sprintf("header: you named %s, the chain took %s", expected, found.Header.Hash)
	}
	out.Equal, out.Why, out.Checked, out.Differs = check.Equal, check.Why, append(out.Checked, check.Checked...), check.Differs
	if out.Verdict = verdictDifferent; out.Equal {
		out.Verdict = verdictEqual
	}
	out.Trusted = append(out.Trusted, trusted{"block " + pin.String(), pin.from},
		trusted{"validators", fmt.Sprintf("that more than two thirds of their stake was honest from there to block %d", src.Newest().Height)},
		trusted{verifier.PartState, "as the header before says: verify that epoch too"})
	if nodes, _ := c.Flags().GetStringSlice("node"); len(nodes) < 2 {
		out.Trusted = append(out.Trusted, trusted{"one node", "no other was asked whether the validators signed two chains: name several with --node"})
	}
	if found.Header.Status != ledger.Final {
		out.Trusted = append(out.Trusted, trusted{"finality", fmt.Sprintf("the header is %s and can still be voided", found.Header.Status)})
	}
	for _, m := range found.Missing {
		out.Trusted = append(out.Trusted, trusted{m.Part, m.Why})
	}
	return out, nil
}

// verifyLedger connects to the node that verify asks; nil if it asks none.
func verifyLedger(c *cobra.Command) (*client.Client, error) {
	if offline, _ := c.Flags().GetBool("offline"); offline {
		return nil, nil
	}
	nodes, _ := c.Flags().GetStringSlice("node")
	if len(nodes) == 0 {
		p, err := placeOf(c)
		if types.ReasonOf(err) == types.NotRunning {
			return nil, nil // a home without a network
		}
		if err != nil {
			return nil, err
		}
		return p.ledger(c)
	}
	l, err := client.New(c.Context(), client.Config{URL: nodes[0]})
	if err != nil {
		return nil, advice{types.Refuse(types.NotRunning, "tally verify: node %s: %v", nodes[0], err), "name another node with --node, or --offline"}
	}
	return l, nil
}

// trustFile keeps the newest block that a home's verify has come to.
const trustFile = "trust.json"

// prove goes from a block that is believed to the newest one.
func prove(c *cobra.Command, l *client.Client) (*client.Proven, *believed, error) {
	home, err := homeOf(c)
	if err != nil {
		return nil, nil, err
	}
	list, err := believable(c, l, home)
	if err != nil {
		return nil, nil, err
	}
	period, _ := c.Flags().GetDuration("trust-period")
	nodes, _ := c.Flags().GetStringSlice("node")
	for i := range list {
		var p *client.Proven
		if p, err = l.Prove(c.Context(), list[i].Pin, period, nodes[min(1, len(nodes)):]...); err == nil {
			return p, &list[i], keepTrust(home, l.Chain(), p.Newest())
		}
		if !errors.Is(err, client.ErrPin) {
			break
		}
		err = fmt.Errorf("%w (%s)", err, list[i].from)
	}
	return nil, nil, advice{types.Refuse(types.NotProven, "tally verify: %v", err), "name a newer block, from somebody you trust, with --trust HEIGHT:HASH, or another node with --node"}
}

// believable lists the blocks that may be gone on from, those that say most first.
func believable(c *cobra.Command, l *client.Client, home string) ([]believed, error) {
	if text, _ := c.Flags().GetString("trust"); text != "" {
		pin, err := client.ParsePin(text)
		if err != nil {
			return nil, usageError{c.CommandPath(), fmt.Errorf("--trust: %w", err)}
		}
		return []believed{{pin, "you named it"}}, nil
	}
	var out []believed
	for _, x := range []struct{ file, from string }{
		{trustFile, "an earlier verify of this home came to it"},
		{"network.json", "the network of this home wrote it into network.json"},
	} {
		raw, err := os.ReadFile(filepath.Join(home, x.file))
		if err != nil {
			continue
		}
		var at struct {
			Chain string `json:"chain_id"`
			Trust string `json:"trust"`
		}
		if json.Unmarshal(raw, &at) != nil || at.Trust == "" || at.Chain != "" && at.Chain != l.Chain() {
			continue
		}
		if pin, err := client.ParsePin(at.Trust); err == nil {
			out = append(out, believed{pin, x.from})
		}
	}
	if p, err := placeOf(c); err == nil && p.far != nil && p.far.Chain == l.Chain() {
		at := p.far.Block
		out = append(out, believed{client.Pin{Height: at.Height, Hash: at.Hash}, "the network's manifest names it"})
	} else if m, err := manifest.Load(home); err == nil && m.Manifest.Chain == l.Chain() {
		at := m.Manifest.Block
		out = append(out, believed{client.Pin{Height: at.Height, Hash: at.Hash}, fmt.Sprintf("the manifest of this home names it, which %v signed", m.Signer)})
	}
	if len(out) > 0 {
		return out, nil
	}
	head, err := l.Head(c.Context())
	if err != nil {
		return nil, fmt.Errorf("tally verify: %w", err)
	}
	return []believed{{client.Pin{Height: head.Height, Hash: head.Hash}, "first use: nothing but the node's own word; from now on this home goes on from it"}}, nil
}

// keepTrust keeps a block for the next time.
func keepTrust(home, chain string, pin client.Pin) error {
	raw, err := json.Marshal(map[string]string{"chain_id": chain, "trust": pin.String()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("tally verify: %w: %w", err, types.HomeUnwritable)
	}
	f, err := os.CreateTemp(home, ".trust-*")
	if err != nil {
		return fmt.Errorf("tally verify: %w: %w", err, types.HomeUnwritable)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("tally verify: keep the newest block: %w", err)
	}
	return os.Rename(f.Name(), filepath.Join(home, trustFile))
}

// bundleOf returns a tally's bundle, which it downloads first where the network of the home can give it.
func bundleOf(c *cobra.Command, online bool, e types.Epoch, r types.Region) ([]byte, error) {
	dir, _ := c.Flags().GetString("bundle")
	if dir == "" {
		home, err := homeOf(c)
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(home, "bundles")
		if p, err := placeOf(c); err == nil && p.api != "" && online {
			if err := download(c, dir, e, r); err != nil {
				return nil, err
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, verifier.BundleName(e, r)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, advice{types.Refuse(types.NotFound, "tally verify: %v", err), "copy the bundle there from a home that has it, or name its folder with --bundle"}
	}
	if err != nil {
		return nil, fmt.Errorf("tally verify: %w", err)
	}
	return raw, nil
}

// download fetches a bundle from the network of the home into a folder.
func download(c *cobra.Command, dir string, e types.Epoch, r types.Region) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	res, err := a.do(ctx, command.Request{Method: "GET", Path: fmt.Sprintf("/api/tallies/%d/%d/bundle", e, r)})
	if err != nil {
		return fmt.Errorf("tally verify: bundle: %w", err)
	}
	defer res.Body.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("tally verify: %w: %w", err, types.HomeUnwritable)
	}
	f, err := os.CreateTemp(dir, ".bundle-*")
	if err != nil {
		return fmt.Errorf("tally verify: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, res.Body)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("tally verify: bundle: %w", err)
	}
	return os.Rename(f.Name(), filepath.Join(dir, verifier.BundleName(e, r)))
}
