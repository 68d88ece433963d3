package customer

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
	"os"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/service/role/command"
)

func (v verbs) recovery() *cobra.Command {
	c := &cobra.Command{
		Use: "recovery", Short: "Take along what another gateway needs to read your files",
		Long: `Only the gateway that stored a file knows what it is made of. save asks it for that and seals it with a secret that only the account's key
gives; restore opens it and gives it to another gateway (--api), through which the same account then reads the files. That gateway does not
pay for them: while the first is there, it does. If the first is gone for good, fetch the files soon and store them anew.`,
		Example: "  cairn store recovery save files.recovery --account alice\n  cairn store recovery restore files.recovery --account alice --api https://gateway.example.org",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return v.Usage(c, fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()))
			}
			return c.Help()
		},
	}
	save := &cobra.Command{Use: "save FILE", Short: "Seal what is needed to read the account's files into a file", Args: command.Exactly(v, "FILE"), RunE: v.recoverySave,
		Example: "  cairn store recovery save files.recovery"}
	restore := &cobra.Command{Use: "restore FILE", Short: "Have a gateway read the files that such a file names", Args: command.Exactly(v, "FILE"), RunE: v.recoveryRestore,
		Example: "  cairn store recovery restore files.recovery --api https://gateway.example.org"}
	for _, verb := range []*cobra.Command{save, restore} {
		c.AddCommand(v.Flags(v.Pays(verb), false))
	}
	return c
}

// recoveryFile is the file, as JSON.
type recoveryFile struct {
	Format  int            `json:"format"` // 1
	Chain   string         `json:"chain"`
	Account types.Account  `json:"account"`
	Objects []sealedRecord `json:"objects"`
}

// sealedRecord is an object's record, sealed with AES-256-GCM: nonce, ciphertext, tag. Its id is authenticated
// with it.
type sealedRecord struct {
	ID     string `json:"id"`
	Sealed []byte `json:"sealed"`
}

const (
	recoveryFormat  = 1
	maxRecoveryFile = 1 << 30 // bytes of the file
)

// recoverySeal is what records are sealed with.
func recoverySeal(secret [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealRecord seals an object's record under a nonce that is used once.
func sealRecord(seal cipher.AEAD, nonce []byte, id string, raw []byte) sealedRecord {
	return sealedRecord{id, seal.Seal(nonce, nonce, raw, []byte(id))}
}

// open returns the record.
func (s sealedRecord) open(seal cipher.AEAD) ([]byte, error) {
	n := seal.NonceSize()
	if len(s.Sealed) < n {
		return nil, types.Refuse(types.BadEncoding, "%s is cut short", s.ID)
	}
	raw, err := seal.Open(nil, s.Sealed[:n], s.Sealed[n:], []byte(s.ID))
	if err != nil {
		return nil, types.Refuse(types.BadSignature, "%s does not open", s.ID)
	}
	return raw, nil
}

// recoverer is who saves or restores: the chain, the account, and what its records are sealed with.
func (v verbs) recoverer(c *cobra.Command) (chain string, account types.Account, seal cipher.AEAD, err error) {
	l, err := v.Ledger(c)
	if err != nil {
		return "", account, nil, err
	}
	defer l.Close()
	if account, err = l.Lookup(v.Payer(c)); err != nil {
		return "", account, nil, err
	}
	secret, err := l.Secret(account, "storage/recovery")
	if err != nil {
		return "", account, nil, err
	}
	seal, err = recoverySeal(secret)
	return l.Chain(), account, seal, err
}

func (v verbs) recoverySave(c *cobra.Command, args []string) error {
	chain, account, seal, err := v.recoverer(c)
	if err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	var list []Object
	if err := v.Call(c, "GET", objects(), nil, &list); err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	out := recoveryFile{Format: recoveryFormat, Chain: chain, Account: account, Objects: []sealedRecord{}}
	for _, o := range list {
		if o.Damaged {
			fmt.Fprintf(c.ErrOrStderr(), "%s is damaged at the gateway, and left out\n", o.ID)
			continue
		}
		res, err := v.Send(c, command.Request{Method: "GET", Path: objects(o.ID) + "/recovery"})
		if err != nil {
			return fmt.Errorf("store recovery: %s: %w", o.ID, err)
		}
		raw, err := io.ReadAll(io.LimitReader(res.Body, maxRecovery+1))
		res.Body.Close()
		if err != nil || len(raw) > maxRecovery {
			return fmt.Errorf("store recovery: %s: %d bytes: %w", o.ID, len(raw), cmp.Or(err, error(types.Oversize)))
		}
		nonce := make([]byte, seal.NonceSize())
		rand.Read(nonce)
		out.Objects = append(out.Objects, sealRecord(seal, nonce, o.ID, raw))
	}
	raw, err := json.Marshal(&out)
	if err != nil {
		return err
	}
	if err := files.Replace(args[0], append(raw, '\n'), 0o600); err != nil {
		return v.Advise(fmt.Errorf("store recovery: %w", err), "choose a file that can be written")
	}
	return v.Print(c, map[string]any{"file": args[0], "objects": len(out.Objects)}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d files, sealed for %v: its words open them\n", args[0], len(out.Objects), account)
	})
}

func (v verbs) recoveryRestore(c *cobra.Command, args []string) error {
	f, err := os.Open(args[0])
	if errors.Is(err, fs.ErrNotExist) {
		return v.Advise(types.Refuse(types.NotFound, "store recovery: %v", err), "check the file's name")
	}
	if err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	defer f.Close()
	var in recoveryFile
	if err := json.NewDecoder(io.LimitReader(f, maxRecoveryFile)).Decode(&in); err != nil || in.Format != recoveryFormat {
		return v.Advise(types.Refuse(types.BadEncoding, "store recovery: %s is no recovery file of format %d", args[0], recoveryFormat), "name the file that store recovery save wrote")
	}
	chain, account, seal, err := v.recoverer(c)
	if err != nil {
		return fmt.Errorf("store recovery: %w", err)
	}
	if in.Account != account || in.Chain != chain {
		return v.Advise(types.Refuse(types.BadArgument, "store recovery: %s is of %v on %s, and this is %v on %s", args[0], in.Account, in.Chain, account, chain), "name the account: --account NAME")
	}
	for _, o := range in.Objects {
		raw, err := o.open(seal)
		if err != nil {
			return fmt.Errorf("store recovery: with the key of %v: %w", account, err)
		}
		res, err := v.Send(c, command.Request{Method: "PUT", Path: objects(o.ID) + "/recovery", Body: bytes.NewReader(raw), Size: int64(len(raw))})
		if err != nil {
			return fmt.Errorf("store recovery: %s: %w", o.ID, err)
		}
		res.Body.Close()
	}
	at, err := v.Gateway(c)
	if err != nil {
		return err
	}
	return v.Print(c, map[string]any{"objects": len(in.Objects), "api": at}, func(w io.Writer) {
		fmt.Fprintf(w, "%d files can be read through %s\n", len(in.Objects), at)
	})
}
