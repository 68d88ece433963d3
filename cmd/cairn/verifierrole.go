package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/verifier"
)

func verifierCommand() *cobra.Command {
	return roleCommand(network.Verifier(), "Run a verifier, beside a validator: it counts what is proven", func(c *cobra.Command) {
		networkFlags(c)
		c.Flags().String("chain", "", "the chain's id (default as the manifest says)")
		c.Flags().StringSlice("rpc", nil, "RPC nodes of the chain, http://host:port; its own first (default as the manifest says)")
		c.Flags().StringSlice("bus", nil, "servers of the bus, nats://host:port (default as the manifest says)")
		c.Flags().String("keyring", "", "the folder that keyring-test is in, with the account's key: the home of the validator's node")
		c.Flags().String("account", "", "the name of the account's key (default validator)")
	}, func(c *cobra.Command, home string, s *network.VerifierSettings) error {
		m, err := joinNetwork(c, home)
		if err != nil {
			return err
		}
		if m != nil {
			s.Join(m)
			s.Bus.Network = published(c)
		}
		takeFlags(c, map[string]any{
			"chain": &s.Chain.ID, "rpc": &s.Chain.RPC, "bus": &s.Bus.Servers, "keyring": &s.Account.Keyring, "account": &s.Account.Name,
		})
		return nil
	}, verifierKeys(), verifierRegister())
}

// registration is what a validator tells the chain to have a verifier.
type registration struct {
	Key      types.Key     `json:"key"`
	VRF      types.Key     `json:"vrf"`
	KeyProof string        `json:"key_proof"` // in hexadecimal
	VRFProof string        `json:"vrf_proof"`
	Account  types.Account `json:"account"`
}

// command is the transaction as the chain's own command sends it.
func (r registration) command(chain string) string {
	return fmt.Sprintf("cairn tx tally set-verifier %v %v %s %s --chain-id %s --from %v", r.Key, r.VRF, r.KeyProof, r.VRFProof, chain, r.Account)
}

// openRegistration reads the keys, or makes them, and finds the account that names them.
func openRegistration(c *cobra.Command) (r registration, set ledger.SetVerifier, chain string, submit func() (*ledger.Receipt, error), err error) {
	home, err := roleHome("verifier", c)
	if err != nil {
		return r, set, "", nil, err
	}
	role := network.Verifier()
	s, err := role.Load(home)
	if err != nil {
		return r, set, "", nil, roleError("verifier", c, err)
	}
	keys, err := verifier.EnsureKeys(home)
	if err != nil {
		return r, set, "", nil, err
	}
	l, account, err := s.Open(c.Context(), process.NewProcess("verifier", home, slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))))
	if err != nil {
		return r, set, "", nil, err
	}
	if text, _ := c.Flags().GetString("validator"); text != "" {
		if account, err = types.ParseAccount(text); err != nil {
			return r, set, "", nil, usageError{c.CommandPath(), fmt.Errorf("--validator: %w", err)}
		}
	}
	set = keys.Register(l.Chain(), account)
	r = registration{set.Key, set.VRF, hex.EncodeToString(set.KeyProof[:]), hex.EncodeToString(set.VRFProof[:]), account}
	return r, set, l.Chain(), func() (*ledger.Receipt, error) {
		defer l.Close()
		return l.Submit(c.Context(), account, set)
	}, nil
}

func verifierKeys() *cobra.Command {
	c := &cobra.Command{
		Use: "keys", Short: "Print the keys, the proofs that they agree to serve the validator, and the transaction that names them; make them where there are none",
		Args: exactly(), Example: "  cairn verifier keys\n  cairn verifier keys --validator cairn1… --json",
		Long: "The keys are in the file keys of the home, which only its owner can read. The proofs are for one chain and one validator's\naccount: that of the settings, or --validator, whose owner then sends the transaction that is printed.",
	}
	c.Flags().String("validator", "", "the account of the validator, cairn1… (default the account of the settings)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, _, chain, _, err := openRegistration(c)
		if err != nil {
			return err
		}
		return outputOf(c).print(r, func(w io.Writer) {
			fmt.Fprintf(w, "key        %v\nvrf        %v\nkey proof  %s\nvrf proof  %s\nvalidator  %v\n\nsend it with cairn verifier register, or wherever the validator's key is:\n\n  %s\n",
				r.Key, r.VRF, r.KeyProof, r.VRFProof, r.Account, r.command(chain))
		})
	}
	return roleFlags("verifier", c)
}

func verifierRegister() *cobra.Command {
	c := &cobra.Command{
		Use: "register", Short: "Have the validator name the keys: they count one appeal window after the next epoch begins", Args: exactly(),
		Example: "  cairn verifier register",
		Long:    "It sends the transaction from the account of the settings, whose key is in their keyring and which must be a validator's.",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, _, _, submit, err := openRegistration(c)
		if err != nil {
			return err
		}
		done, err := submit()
		if errors.Is(err, fs.ErrNotExist) {
			return advice{err, "cairn verifier keys prints a transaction to send from elsewhere"}
		}
		if err != nil {
			return err
		}
		return outputOf(c).print(map[string]any{"key": r.Key, "validator": r.Account, "height": done.Height}, func(w io.Writer) {
			fmt.Fprintf(w, "%v is named for %v in block %d\n", r.Key, r.Account, done.Height)
		})
	}
	return roleFlags("verifier", c)
}
