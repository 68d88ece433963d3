package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/role"
)

// holdsNetwork says whether a home is of a whole network (cairn up). One that joined a network has a folder
// chain/0 too, with its keyring.
func holdsNetwork(home string, chains []string) bool {
	if Made(home) {
		return true
	}
	for _, dir := range chains {
		if holdsChain(filepath.Join(home, dir)) {
			return true
		}
	}
	return false
}

// holdsChain says whether a folder is the home of a node of a chain (cairn start).
func holdsChain(home string) bool {
	for _, path := range []string{"config/genesis.json", "config/priv_validator_key.json", "data/blockstore.db"} {
		if _, err := os.Stat(filepath.Join(home, path)); err == nil {
			return true
		}
	}
	return false
}

// chainBusy says whether a node runs in its home: it holds its databases open.
func chainBusy(home string) bool {
	db, err := leveldb.OpenFile(filepath.Join(home, "data", "blockstore.db"), &opt.Options{ReadOnly: true, ErrorIfMissing: true})
	if err == nil {
		db.Close()
	}
	return errors.Is(err, syscall.EAGAIN)
}

// processFiles lists what a home holds in which no whole network is, but one that joined a network, or what
// runs one role: `cairn start`, `cairn bus`, `cairn verifier`, `cairn gateway`.
func processFiles(home string, customers []role.Customer) (files []health.File) {
	files = append(files,
		health.File{Path: manifest.File, Check: health.JSON("manifest", "signature"), Remedy: health.Aside,
			Lost: "where the network is, and who may say so: fetch the manifest again, with the signer that you know (--signer)"},
		health.File{Path: publisherKey, Check: health.PEM,
			Lost: "the key that signs this network's manifests: who joined by an earlier one has to be told the next (--signer)"})
	if holdsChain(home) {
		files = append(files, chainFiles(".", health.Restore)...)
	}
	for _, r := range []struct {
		name  string
		check func(home string) error
		files func(home string, customers []role.Customer) []health.File
	}{
		{"bus", loads(Bus()), busFiles}, {"verifier", loads(Verifier()), verifierFiles}, {"gateway", loads(Gateway()), gatewayFiles},
	} {
		settings := r.name + ".yaml"
		if _, err := os.Stat(filepath.Join(home, settings)); err != nil {
			continue
		}
		check := func(path string, _ bool) error { return r.check(filepath.Dir(path)) }
		files = append(files, health.File{Path: settings, Check: check,
			Lost: fmt.Sprintf("the settings of this %s: mend the line, or write them anew with cairn %s init --force, which leaves keys", r.name, r.name)})
		files = append(files, r.files(home, customers)...)
	}
	return files
}

// loads is how the settings of a role are read.
func loads[S any](r process.Role[S]) func(home string) error {
	return func(home string) error { _, err := r.Load(home); return err }
}

func busFiles(string, []role.Customer) []health.File {
	return []health.File{
		{Path: busKeyFile, Check: health.PEM, Lost: "the key by which the other servers of the bus know this one: without it another is made, which they have to be told"},
		{Path: "kept.db", Check: health.Bolt, Remedy: health.Remake, Lost: "messages that this server keeps: it fetches what the others have"},
	}
}

func verifierFiles(home string, _ []role.Customer) []health.File {
	return append([]health.File{
		{Path: "keys", Check: health.Text(verifierKeys), Lost: "the verifier's keys: nobody can make them anew; cairn verifier keys makes others, which the validator has to name"},
		{Path: "data/verifier.db", Check: health.Bolt, Remedy: health.Aside, Lost: "what the verifier has taken in and counted, which only other verifiers can tell it"},
	}, witnessFiles(home, "data/witness")...)
}

// witnessFiles lists what a witness beside a verifier keeps, in a folder below the home: its own store and those of
// categories.
func witnessFiles(home, dir string) []health.File {
	files := []health.File{{Path: filepath.Join(dir, "witness.db"), Check: health.Bolt,
		Lost: "the numbers of what the verifier reported as a witness: with others of before, tallies refuse its reports"}}
	stores, _ := filepath.Glob(filepath.Join(home, dir, "*", "*.db"))
	for _, path := range stores {
		files = append(files, health.File{Path: filepath.Join(dir, filepath.Base(filepath.Dir(path)), filepath.Base(path)), Check: health.Bolt,
			Remedy: health.Aside, Lost: "what devices showed this verifier: who contradicts it later is not caught by this one"})
	}
	return files
}

func gatewayFiles(home string, customers []role.Customer) []health.File {
	files := []health.File{
		{Path: gatewayKeyFile, Check: health.PEM, Lost: "the gateway's key, from which the secrets of its customers' keys follow"},
		{Path: "data/wallets.db", Check: health.Bolt, Lost: "the keys that customers spend with"},
		{Path: "explorer.db", Check: explorer.CheckIndex, Remedy: health.Remake, With: []string{"explorer.db-wal", "explorer.db-shm"},
			Lost: "nothing: it is the page's index of the chain, and fills again"},
	}
	for _, c := range customers {
		if c.Files != nil {
			dir := filepath.Join("data", c.Category.String())
			files = append(files, health.In(dir, c.Files(filepath.Join(home, dir)))...)
		}
	}
	return files
}

// lacks says what the process that runs in a home lacks.
func lacks(home string) (list []health.Finding) {
	report, err := process.Ask(context.Background(), home)
	if err != nil {
		return []health.Finding{{Level: health.Warn, What: "process", Text: fmt.Sprintf("one runs here, and does not say how it is: %v", err), Try: "look into its log, or wait: it may have only begun"}}
	}
	for _, c := range report.Checks {
		if !c.OK {
			list = append(list, health.Finding{Level: health.Warn, What: c.Name, Text: c.Missing, Try: "it is waited for; docs/operate.md says what each check means"})
		}
	}
	return list
}

// examineProcess looks at the home of a role before it is used: what can be made anew is moved aside and told,
// what cannot keeps it from starting.
func examineProcess(p *process.Process, files []health.File) error {
	found, _ := health.Examine(p.Home, files, false)
	if err := health.Mend(p.Home, files, found, health.Remake); err != nil {
		return types.Refuse(types.HomeUnwritable, "%v", err)
	}
	var errs []error
	for _, f := range found {
		p.Log.Error("a file of the home is damaged", "file", f.What, "what", f.Text, "lost", f.Lost, "moved_to", f.Mended)
		if f.Level == health.Bad {
			errs = append(errs, types.Refuse(types.HomeDamaged, "%s: %s; lost with it: %s; %s", p.Path(f.What), f.Text, f.Lost, f.Try))
		}
	}
	return errors.Join(errs...)
}
