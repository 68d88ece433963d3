package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skip2/go-qrcode"
	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
)

// claimEpochs is for how many epochs a claim code can be used, from the one the device was set up in: a year of
// hours.
const claimEpochs = 8760

// defaultListen is where status and metrics are served unless the owner says otherwise.
const defaultListen = "127.0.0.1:9464"

func initCommand(devices []role.Device) *cobra.Command {
	c := &cobra.Command{
		Use:   "init --network FILE|URL --owner ADDRESS --lat DEGREES --lon DEGREES",
		Short: "Set this device up and print its claim code",
		Long: `Looks at what this machine can provide, shows it, asks what to share, makes the device's key, and prints
the claim code that the owner registers the device with. The settings are in node.yaml of the device's home, each with
what it means above it, and can be edited there. Meters and the like that the settings name are tried, and what they
say is shown. Run again, it keeps the key and replaces the settings.

The manifest comes from the network (cairn up writes manifest.json into its home, others publish theirs). It names the buses
and the verifiers that the device believes at first, so take it from somebody you trust; who signed it is shown. The device's home keeps it:
run again, init takes only a newer one of the same signer, or of one that --signer names. Where it came from a URL, the device that runs asks
there for a newer one by itself.`,
		Example: examples(devices),
	}
	f := c.Flags()
	f.String("network", "", "the network's manifest: a file, a URL, or - for standard input")
	f.String("signer", "", "the key that has to have signed the manifest: did:key:…")
	f.String("owner", "", "the account that owns the device and is paid: cairn1…")
	f.String("cell", "", "where the device is: an H3 cell of resolution 3 or finer; instead of --lat and --lon")
	f.Float64("lat", 0, "where the device is: degrees north, negative south of the equator; public as a cell of some 5 km²")
	f.Float64("lon", 0, "degrees east, negative west of Greenwich")
	f.Uint64("model", 0, "the device's registered model, 0 for none")
	f.StringArray("offer", nil, "provide CATEGORY, or CATEGORY=JSON with other settings than proposed (repeatable; default: ask)")
	f.StringArray("set", nil, "change a proposed setting: CATEGORY.NAME=VALUE (repeatable)")
	f.Bool("yes", false, "offer everything that was found, without asking")
	f.String("listen", defaultListen, "where status and metrics are served, \"\" for nowhere")
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return runInit(c, devices) }
	return c
}

// examples are command lines for help: one as it is, and one with the flags of each category that names some.
func examples(devices []role.Device) string {
	text := "  cairn-node init --network manifest.json --owner cairn1… --lat 47.37 --lon 8.54"
	for _, d := range devices {
		if d.Example != "" {
			text += "\n  cairn-node init --network manifest.json --owner cairn1… --cell 871fb4662ffffff " + d.Example
		}
	}
	return text
}

func runInit(c *cobra.Command, devices []role.Device) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	s, network, err := settingsOf(c)
	if err != nil {
		return err
	}
	signer, err := signerOf(c)
	if err == nil {
		err = network.Demand(signer)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "%-10s %s, as %v says\n", "network", network.Manifest.Chain, network.Signer)
	if c.Flags().Changed("lat") {
		fmt.Fprintf(c.ErrOrStderr(), "%-10s %v, some 5 km² around there: that much everybody can see\n", "place", s.Cell)
	}
	if s.Categories, err = categoriesOf(c, devices, home); err != nil {
		return err
	}
	if len(s.Categories) == 0 {
		return advice{errors.New("init: nothing is offered"), "say yes to something, or name it with --offer"}
	}
	if old, err := node.LoadSettings(home); err == nil {
		s.Nonce = old.Nonce // an unchanged device keeps its claim code
	}
	if err := manifest.Keep(home, network, signer); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := node.Init(home, *s, sections(devices)); err != nil {
		return err
	}
	return printCode(c, home)
}

// sections returns, by category name, values of the types that their sections have.
func sections(devices []role.Device) map[string]any {
	docs := map[string]any{}
	for _, d := range devices {
		docs[d.Category.String()] = d.Settings
	}
	return docs
}

func settingsOf(c *cobra.Command) (*node.Settings, *manifest.Signed, error) {
	f := c.Flags()
	s := &node.Settings{}
	path, _ := f.GetString("network")
	owner, _ := f.GetString("owner")
	s.Model, _ = f.GetUint64("model")
	s.Listen, _ = f.GetString("listen")
	switch "" {
	case path:
		return nil, nil, usage{c.CommandPath(), fmt.Errorf("%s: --network is missing", c.CommandPath())}
	case owner:
		return nil, nil, usage{c.CommandPath(), fmt.Errorf("%s: --owner is missing", c.CommandPath())}
	}
	var err error
	if s.Cell, err = cellOf(c); err != nil {
		return nil, nil, err
	}
	network, err := readNetwork(c, path)
	if err != nil {
		return nil, nil, err
	}
	s.Network = manifest.Published(path)
	s.Region = types.RegionOf(s.Cell, uint16(network.Manifest.Regions)) // as the chain will have it
	s.Expiry = network.Manifest.Epoch + claimEpochs
	if s.Owner, err = types.ParseAccount(owner); err != nil {
		return nil, nil, advice{types.Refuse(types.BadArgument, "init: owner: %v", err), "cairn account list shows your address"}
	}
	return s, network, nil
}

// readNetwork reads the manifest.
func readNetwork(c *cobra.Command, where string) (m *manifest.Signed, err error) {
	if where == "-" {
		m, err = manifest.Read(c.InOrStdin())
	} else {
		m, err = manifest.Fetch(c.Context(), where)
	}
	switch {
	case types.ReasonOf(err) == types.NotFound:
		return nil, advice{fmt.Errorf("init: %w", err), "cairn up writes manifest.json into its home; other networks publish theirs"}
	case err != nil:
		return nil, fmt.Errorf("init: %w", err)
	}
	return m, nil
}

// signerOf reads --signer; zero where it is not given.
func signerOf(c *cobra.Command) (key types.Key, err error) {
	if text, _ := c.Flags().GetString("signer"); text != "" {
		if key, err = types.ParseKey(text); err != nil {
			return key, usage{c.CommandPath(), fmt.Errorf("%s: --signer: %w", c.CommandPath(), err)}
		}
	}
	return key, nil
}

// categoriesOf finds what the machine has and lets the owner choose.
func categoriesOf(c *cobra.Command, devices []role.Device, home string) (map[string]json.RawMessage, error) {
	named, err := namedCategories(c, devices)
	if err != nil {
		return nil, err
	}
	yes, _ := c.Flags().GetBool("yes")
	asks := c.ErrOrStderr() // keeps standard output for the code
	answers := bufio.NewReader(c.InOrStdin())
	chosen := map[string]json.RawMessage{}
	for _, d := range devices {
		name := d.Category.String()
		given, wanted := named[name]
		if len(named) > 0 && !wanted {
			continue
		}
		searching := d.Search != ""
		// Not even --yes stands for leave to look at other machines.
		if searching && !wanted && (yes || !confirm(c.Context(), asks, answers, fmt.Sprintf("%-10s %s [Y/n] ", name, d.Search))) {
			continue
		}
		found, line := given, "as given"
		if given == nil || !searching { // who says where the meters are is not asking for others
			if found, line, err = d.Find(c.Context(), filepath.Join(home, "providers", name)); err != nil {
				return nil, fmt.Errorf("init: look for %s: %w", name, err)
			}
		}
		fmt.Fprintf(asks, "%-10s %s\n", name, line)
		if given != nil {
			found = given
		}
		switch {
		case found == nil && wanted:
			return nil, fmt.Errorf("init: this machine cannot provide %s: %s", name, line)
		case found == nil:
			continue
		case !wanted && !yes && !confirm(c.Context(), asks, answers, "           share it? [Y/n] "):
			continue
		}
		if found, err = changed(c, name, found); err != nil {
			return nil, err
		}
		if _, err := d.New(found); err != nil {
			return nil, advice{fmt.Errorf("init: %w", err), fmt.Sprintf("change it with --set %s.NAME=VALUE; the settings are %s", name, found)}
		}
		if d.Try != nil {
			fmt.Fprintf(asks, "%-10s trying what the settings name …\n", "")
			for _, line := range d.Try(c.Context(), found) {
				fmt.Fprintf(asks, "%-10s %s\n", "", line)
			}
		}
		chosen[name] = found
	}
	return chosen, nil
}

// changed applies the --set flags of a category to its settings.
func changed(c *cobra.Command, category string, settings json.RawMessage) (json.RawMessage, error) {
	list, _ := c.Flags().GetStringArray("set")
	for _, text := range list {
		path, value, ok := strings.Cut(text, "=")
		of, name, dotted := strings.Cut(path, ".")
		if !ok || !dotted {
			return nil, usage{c.CommandPath(), fmt.Errorf("%s: --set %s: want CATEGORY.NAME=VALUE", c.CommandPath(), text)}
		}
		if of != category {
			continue
		}
		all := map[string]json.RawMessage{}
		if err := json.Unmarshal(settings, &all); err != nil {
			return nil, fmt.Errorf("init: settings of %s: %w", category, err)
		}
		all[name] = json.RawMessage(value)
		if !json.Valid(all[name]) {
			quoted, err := json.Marshal(value) // a word is text
			if err != nil {
				return nil, fmt.Errorf("init: --set %s: %w", text, err)
			}
			all[name] = quoted
		}
		var err error
		if settings, err = json.Marshal(all); err != nil {
			return nil, fmt.Errorf("init: settings of %s: %w", category, err)
		}
	}
	return settings, nil
}

// namedCategories reads the --offer flags. Without settings they are nil.
func namedCategories(c *cobra.Command, devices []role.Device) (map[string]json.RawMessage, error) {
	list, _ := c.Flags().GetStringArray("offer")
	named := map[string]json.RawMessage{}
	for _, text := range list {
		name, settings, has := strings.Cut(text, "=")
		if !slices.ContainsFunc(devices, func(d role.Device) bool { return d.Category.String() == name }) {
			return nil, usage{c.CommandPath(), fmt.Errorf("%s: this program provides no %q", c.CommandPath(), name)}
		}
		named[name] = nil
		if has {
			if !json.Valid([]byte(settings)) {
				return nil, usage{c.CommandPath(), fmt.Errorf("%s: the settings of %s are not JSON", c.CommandPath(), name)}
			}
			named[name] = json.RawMessage(settings)
		}
	}
	return named, nil
}

func confirm(ctx context.Context, out io.Writer, in *bufio.Reader, question string) bool {
	fmt.Fprint(out, question)
	answer, err := in.ReadString('\n')
	if err != nil && answer == "" || ctx.Err() != nil {
		fmt.Fprintln(out)
		return false
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "" || answer == "y" || answer == "yes"
}

func codeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "code",
		Short:   "Print the claim code that the owner registers the device with",
		Example: "  cairn-node code\n  cairn device register \"$(cairn-node code --qr=false)\"",
	}
	jsonFlag(c)
	c.Flags().Bool("qr", true, "print it as a QR code too")
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := homeOf(c)
		if err != nil {
			return err
		}
		return printCode(c, home)
	}
	return c
}

func printCode(c *cobra.Command, home string) error {
	s, err := load(home)
	if err != nil {
		return err
	}
	network, err := joined(home)
	if err != nil {
		return err
	}
	claim, err := s.Claim(home, network.Chain)
	if err != nil {
		return err
	}
	code := claim.Code()
	picture := ""
	if qr, err := c.Flags().GetBool("qr"); err != nil || qr {
		q, err := qrcode.New(code, qrcode.Low)
		if err != nil {
			return fmt.Errorf("code: %w", err)
		}
		picture = q.ToSmallString(false)
	}
	type summary struct {
		Device types.Key     `json:"device"`
		Owner  types.Account `json:"owner"`
		Chain  string        `json:"chain"`
		Code   string        `json:"code"`
		Expiry types.Epoch   `json:"expiry_epoch"`
	}
	return output(c, summary{claim.Statement.Device, s.Owner, claim.Statement.Chain, code, s.Expiry}, func(w io.Writer) {
		if picture == "" {
			fmt.Fprintln(w, code)
			return
		}
		fmt.Fprintf(w, "device  %v\nowner   %v\n\n%s\n%s\n\nThe owner scans it, or runs: cairn device register CODE\nThen, here: cairn-node run\n",
			claim.Statement.Device, s.Owner, picture, code)
	})
}

// load reads a home's settings, and says what to do without any.
func load(home string) (*node.Settings, error) {
	s, err := node.LoadSettings(home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, advice{types.Refuse(types.NotFound, "no device is set up in %s", home), "cairn-node init --network FILE|URL --owner cairn1… --cell CELL"}
	}
	return s, err
}
