package main

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
)

// recoveryCommand is below `cairn store`.
func recoveryCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "recovery", Short: "Take along what another gateway needs to read your files",
		Long: `Only the gateway that stored a file knows what it is made of. save asks it for that and seals it with a secret that only the account's key
gives; restore opens it and gives it to another gateway (--api), through which the same account then reads the files. That gateway does not
pay for them: while the first is there, it does. If the first is gone for good, fetch the files soon and store them anew.`,
		Example: "  cairn store recovery save files.recovery --account alice\n  cairn store recovery restore files.recovery --account alice --api https://gateway.example.org",
	}
	save := &cobra.Command{Use: "save FILE", Short: "Seal what is needed to read the account's files into a file", Args: exactly("FILE"), RunE: recoverySave,
		Example: "  cairn store recovery save files.recovery"}
	restore := &cobra.Command{Use: "restore FILE", Short: "Have a gateway read the files that such a file names", Args: exactly("FILE"), RunE: recoveryRestore,
		Example: "  cairn store recovery restore files.recovery --api https://gateway.example.org"}
	c.Args, c.RunE = cobra.ArbitraryArgs, noun
	c.AddCommand(placeFlags(accountFlag(save)), placeFlags(accountFlag(restore)))
	return c
}

// recovery is the file, as JSON.
type recovery struct {
	Format  int            `json:"format"` // 1
	Chain   string         `json:"chain"`
	Account types.Account  `json:"account"`
	Objects []sealedRecord `json:"objects"`
}

// sealedRecord is an object's record, sealed with AES-256-GCM: nonce, ciphertext, tag. Its id is authenticated with it.
type sealedRecord struct {
	ID     string `json:"id"`
	Sealed []byte `json:"sealed"`
}

const (
	recoveryFormat = 1
	maxRecovery    = 1 << 30  // bytes of the file
	maxRecord      = 16 << 20 // bytes of one record, as gateways take them
)

// recoverer is who saves or restores: the account, and what its records are sealed with.
func recoverer(c *cobra.Command) (a *api, chain string, account types.Account, seal cipher.AEAD, err error) {
	if a, err = openAPI(c); err != nil {
		return nil, "", account, nil, err
	}
	l, err := a.ledger(c)
	if err != nil {
		return nil, "", account, nil, err
	}
	defer l.Close()
	name, _ := c.Flags().GetString("account")
	if account, err = l.Lookup(cmp.Or(name, accountName())); err != nil {
		return nil, "", account, nil, err
	}
	secret, err := l.Secret(account, "storage/recovery")
	if err != nil {
		return nil, "", account, nil, err
	}
	block, err := aes.NewCipher(secret[:])
	if err == nil {
		seal, err = cipher.NewGCM(block)
	}
	return a, l.Chain(), account, seal, err
}

func recoverySave(c *cobra.Command, args []string) error {
	a, chain, account, seal, err := recoverer(c)
	if err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	var list []object
	if err := a.get(c.Context(), "/storage/v1/objects", &list); err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	out := recovery{Format: recoveryFormat, Chain: chain, Account: account, Objects: []sealedRecord{}}
	for _, o := range list {
		if o.Damaged {
			fmt.Fprintf(c.ErrOrStderr(), "%s is damaged at the gateway, and left out\n", o.ID)
			continue
		}
		res, err := a.do(c.Context(), "GET", "/storage/v1/objects/"+url.PathEscape(o.ID)+"/recovery", nil, 0)
		if err != nil {
			return fmt.Errorf("store recovery: %s: %w", o.ID, err)
		}
		raw, err := io.ReadAll(io.LimitReader(res.Body, maxRecord+1))
		res.Body.Close()
		if err != nil || len(raw) > maxRecord {
			return fmt.Errorf("store recovery: %s: %d bytes: %w", o.ID, len(raw), cmp.Or(err, error(types.Oversize)))
		}
		nonce := make([]byte, seal.NonceSize())
		rand.Read(nonce)
		out.Objects = append(out.Objects, sealedRecord{o.ID, seal.Seal(nonce, nonce, raw, []byte(o.ID))})
	}
	raw, err := json.Marshal(&out)
	if err != nil {
		return err
	}
	if err := files.Replace(args[0], append(raw, '\n'), 0o600); err != nil {
		return advice{fmt.Errorf("store recovery: %w", err), "choose a file that can be written"}
	}
	return outputOf(c).print(map[string]any{"file": args[0], "objects": len(out.Objects)}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d files, sealed for %v: its words open them\n", args[0], len(out.Objects), account)
	})
}

func recoveryRestore(c *cobra.Command, args []string) error {
	f, err := os.Open(args[0])
	if errors.Is(err, fs.ErrNotExist) {
		return advice{types.Refuse(types.NotFound, "store recovery: %v", err), "check the file's name"}
	}
	if err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	defer f.Close()
	var in recovery
	if err := json.NewDecoder(io.LimitReader(f, maxRecovery)).Decode(&in); err != nil || in.Format != recoveryFormat {
		return advice{types.Refuse(types.BadEncoding, "store recovery: %s is no recovery file of format %d", args[0], recoveryFormat), "name the file that store recovery save wrote"}
	}
	a, chain, account, seal, err := recoverer(c)
	if err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	if in.Account != account || in.Chain != chain {
		return advice{types.Refuse(types.BadArgument, "store recovery: %s is of %v on %s, and this is %v on %s", args[0], in.Account, in.Chain, account, chain), "name the account: --account NAME"}
	}
	for _, o := range in.Objects {
		n := seal.NonceSize()
		if len(o.Sealed) < n {
			return types.Refuse(types.BadEncoding, "store recovery: %s is cut short", o.ID)
		}
		raw, err := seal.Open(nil, o.Sealed[:n], o.Sealed[n:], []byte(o.ID))
		if err != nil {
			return types.Refuse(types.BadSignature, "store recovery: %s does not open with the key of %v", o.ID, account)
		}
		res, err := a.do(c.Context(), "PUT", "/storage/v1/objects/"+url.PathEscape(o.ID)+"/recovery", bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return fmt.Errorf("store recovery: %s: %w", o.ID, err)
		}
		res.Body.Close()
	}
	return outputOf(c).print(map[string]any{"objects": len(in.Objects), "api": a.api}, func(w io.Writer) {
		fmt.Fprintf(w, "%d files can be read through %s\n", len(in.Objects), a.api)
	})
}
