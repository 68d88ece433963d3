package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/viper"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/role"
)

// Doctor looks at a home and its machine, and returns everything that it looked at: files that are in order as
// one finding. With repair it moves aside what is damaged and can be made anew or done without; then nothing
// may run there, which is refused with types.HomeBusy.
func Doctor(home string, limits disk.Limits, repair bool, devices []role.Device, customers []role.Customer) ([]health.Finding, error) {
	if _, err := os.Stat(home); err != nil {
		return nil, types.Refuse(types.NotFound, "doctor: home %s: %v", home, err)
	}
	_, err := Running(home)
	locked := err == nil
	busy := locked || chainBusy(home)
	if repair {
		if chainBusy(home) {
			return nil, types.Refuse(types.HomeBusy, "doctor: a node of the chain runs in %s", home)
		}
		release, err := process.Lock(home)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	var l layout
	lerr := readJSON(filepath.Join(home, layoutFile), &l)
	at, _ := ReadAddresses(home)
	running := busy && at != nil
	list := []health.Finding{health.Version(), health.Disk(home, limits)}
	var said time.Time
	if running {
		said = lastBlock(at.RPC)
		for name, address := range map[string]string{"page": at.API, "rpc": at.RPC, "rest": at.REST, "bus": at.Bus} {
			if u, err := url.Parse(address); err == nil {
				list = append(list, health.Port(name, u.Host, true))
			}
		}
	} else if l.Bus != "" {
		list = append(list, health.Port("bus", l.Bus, false))
	}
	list = append(list, health.Clock(time.Now(), l.Created, said))
	if lerr == nil && l.Format != format {
		list = append(list, health.Finding{Level: health.Bad, What: layoutFile, Text: fmt.Sprintf("the home has format %d, this program goes on with %d", l.Format, format),
			Try: "run the version that began it, or choose another home"})
	}
	files := append(homeFiles(home, customers), keptFiles(home, devices)...)
	if locked && !running {
		list = append(list, lacks(home)...)
	}
	found, fine := health.Examine(home, files, !busy)
	if repair {
		if err := health.Mend(home, files, found, health.Aside); err != nil {
			return nil, types.Refuse(types.HomeUnwritable, "doctor: %v", err)
		}
	}
	list = append(list, health.Count(fine))
	return append(list, found...), nil
}

// lastBlock asks a node for its last block's time, zero if it does not say.
func lastBlock(rpc string) time.Time {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(rpc + "/status")
	if err != nil {
		return time.Time{}
	}
	defer res.Body.Close()
	var out struct {
		Result struct {
			Sync struct {
				Time time.Time `json:"latest_block_time"`
			} `json:"sync_info"`
		}
	}
	if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&out) != nil || out.Result.Sync.Time.Before(time.Unix(1, 0)) {
		return time.Time{}
	}
	return out.Result.Sync.Time
}

// examine looks at a home before it is used: what can be made anew is moved aside and told, what cannot keeps
// the network from starting.
func (n *Network) examine() error {
	files := homeFiles(n.cfg.Home, n.cfg.Customers)
	found, _ := health.Examine(n.cfg.Home, files, false)
	if err := health.Mend(n.cfg.Home, files, found, health.Remake); err != nil {
		return types.Refuse(types.HomeUnwritable, "network: %v", err)
	}
	var errs []error
	for _, f := range found {
		n.log.Error("a file of the home is damaged", "file", f.What, "what", f.Text, "lost", f.Lost, "moved_to", f.Mended)
		if f.Level == health.Bad {
			errs = append(errs, types.Refuse(types.HomeDamaged, "network: %s: %s; lost with it: %s; %s", n.path(f.What), f.Text, f.Lost, f.Try))
			continue
		}
		n.cfg.Progress(Step{Text: fmt.Sprintf("%s is made anew: %s; lost with it: %s", f.What, f.Text, f.Lost), Done: true, Trouble: true})
	}
	return errors.Join(errs...)
}

// keptFiles lists what the devices' providers keep beside their databases.
func keptFiles(home string, devices []role.Device) (files []health.File) {
	dirs, _ := filepath.Glob(filepath.Join(home, "node", "*"))
	for _, dir := range dirs {
		for _, f := range node.KeptFiles(dir, devices) {
			f.Path = filepath.Join("node", filepath.Base(dir), f.Path)
			files = append(files, f)
		}
	}
	return files
}

// homeFiles lists what a home holds, or has to.
func homeFiles(home string, customers []role.Customer) []health.File {
	glob := func(pattern string) (list []string) {
		paths, _ := filepath.Glob(filepath.Join(home, pattern))
		for _, p := range paths {
			if rel, err := filepath.Rel(home, p); err == nil && !strings.Contains(rel, ".damaged-") {
				list = append(list, rel)
			}
		}
		return list
	}
	var keys []health.File
	for _, path := range glob(keyFolder + "/*.json") {
		keys = append(keys, health.File{Path: path, Check: health.JSON("account", "payer", "api_key"), Remedy: health.Aside,
			Lost: "an account's API key: `cairn account key " + strings.TrimSuffix(filepath.Base(path), ".json") + "` makes another"})
	}
	chains := glob("chain/*")
	if !holdsNetwork(home, chains) {
		return append(keys, processFiles(home, customers)...)
	}
	const key = "nobody can make it anew"
	alone := health.Restore
	if len(chains) > 1 {
		alone = health.Aside // the others have it too
	}
	files := []health.File{
		{Path: layoutFile, Need: true, Check: health.JSON("format", "chain_id", "validators"), Lost: "what this home was made with"},
		{Path: customerFile, Check: health.JSON("account", "payer", "api_key"), Remedy: health.Aside,
			Lost: "the API key of the home's own customer: the next `cairn up` makes another; what is stored stays the account's"},
		{Path: addressFile, Check: health.JSON("api", "rpc", "pid"), Remedy: health.Remake, Lost: "nothing: it says where a running network listens"},
		{Path: manifest.File, Check: health.JSON("manifest", "signature"), Remedy: health.Remake, Lost: "nothing: each start writes it"},
		{Path: publisherKey, Check: health.PEM, Remedy: health.Aside,
			Lost: "the key that signs this network's manifests: who joined by an earlier one has to be told the next (--signer)"},
		{Path: "explorer.db", Check: explorer.CheckIndex, Remedy: health.Remake, With: []string{"explorer.db-wal", "explorer.db-shm"},
			Lost: "nothing: it is the page's index of the chain, and fills again"},
		{Path: "bus/kept.db", Check: health.Bolt, Remedy: health.Remake, Lost: "messages that the bus keeps for those who are away; who sent them sends them again"},
		{Path: "gateway/device.key", Check: health.PEM, Lost: "the gateway's key, from which the secrets of its customers' keys follow"},
		{Path: "gateway/wallets.db", Check: health.Bolt, Lost: "the keys that customers spend with"},
	}
	for _, c := range customers {
		if c.Files == nil {
			continue
		}
		dir := filepath.Join("gateway", c.Category.String())
		files = append(files, health.In(dir, c.Files(filepath.Join(home, dir)))...)
	}
	files = append(files, keys...)
	for _, dir := range chains {
		files = append(files, chainFiles(dir, alone)...)
	}
	for _, dir := range glob("verifier/*") {
		files = append(files,
			health.File{Path: filepath.Join(dir, "keys"), Need: true, Check: health.Text(verifierKeys), Lost: "the verifier's keys: " + key},
			health.File{Path: filepath.Join(dir, "verifier.db"), Check: health.Bolt, Remedy: alone, Lost: "what the verifier has counted, which only other verifiers can tell it"})
		files = append(files, witnessFiles(home, filepath.Join(dir, "witness"))...)
	}
	for _, dir := range glob("node/*") {
		for _, f := range node.Files(filepath.Join(home, dir)) {
			f.Path = filepath.Join(dir, f.Path)
			if filepath.Base(f.Path) == node.SettingsFile { // those of a device elsewhere are its owner's
				f.Need, f.Remedy, f.Lost = false, health.Remake, "nothing: the network makes its devices' settings"
			}
			files = append(files, f)
		}
		files = append(files, health.File{Path: filepath.Join(dir, customerFile), Check: health.JSON("account", "payer", "api_key"), Remedy: health.Aside,
			Lost: "the API key of the device's owner: the next `cairn up` makes another"})
	}
	for _, path := range glob("simulated/*/*.json") {
		files = append(files, health.File{Path: path, Check: health.Any, Remedy: health.Restore, Lost: "what simulated hardware remembers: its meters would begin at nothing"})
	}
	return files
}

// chainFiles lists what the home of a node of the chain holds, or has to, in a folder. alone is what can be
// done about its copy of the chain.
func chainFiles(dir string, alone health.Remedy) (files []health.File) {
	file := func(path string, check health.Check, remedy health.Remedy, lost string, need bool) {
		files = append(files, health.File{Path: filepath.Join(dir, path), Check: check, Remedy: remedy, Lost: lost, Need: need})
	}
	file("config/config.toml", health.Text(tomlFile("instrumentation")), health.Restore, "this validator's settings", true)
	file("config/app.toml", health.Text(tomlFile("mempool")), health.Restore, "this validator's settings", true)
	file("config/genesis.json", health.JSON("chain_id", "app_state"), health.Restore, "the chain's beginning; each validator of it has a copy", true)
	file("config/node_key.json", health.JSON("priv_key"), health.Restore, "the validator's name among its peers", true)
	file("config/priv_validator_key.json", health.JSON("address", "pub_key", "priv_key"), health.Restore, "the validator's key: nobody can make it anew", true)
	file("data/priv_validator_state.json", health.JSON("height", "round", "step"), health.Restore,
		"what the validator has signed: without it, it might sign something else at the same height", true)
	file("config/addrbook.json", health.JSON("addrs"), health.Remake, "nothing: peers are named in config.toml", false)
	file("data/tx_index.db", LevelDB, health.Remake, "the index of transactions until now: they cannot be searched for", false)
	file("data/evidence.db", LevelDB, health.Remake, "evidence of misconduct that no block holds yet", false)
	file("data/snapshots/metadata.db", LevelDB, health.Remake, "snapshots for those who join; more are taken", false)
	for _, name := range []string{"application.db", "blockstore.db", "state.db"} {
		with := []string{filepath.Join(dir, "data/cs.wal")}
		for _, other := range []string{"application.db", "blockstore.db", "state.db"} {
			if other != name {
				with = append(with, filepath.Join(dir, "data", other))
			}
		}
		files = append(files, health.File{Path: filepath.Join(dir, "data", name), Check: LevelDB, Remedy: alone, With: with,
			Lost: "this validator's copy of the chain" + map[bool]string{true: ": where no other validator has it, the network cannot go on", false: ": it fetches the blocks from the others"}[alone == health.Restore]})
	}
	return files
}

// tomlFile checks settings that end in a section: without it, they were cut short.
func tomlFile(last string) func([]byte) error {
	return func(raw []byte) error {
		v := viper.New()
		v.SetConfigType("toml")
		if err := v.ReadConfig(bytes.NewReader(raw)); err != nil {
			return fmt.Errorf("no TOML: %w", err)
		}
		if !v.IsSet(last) {
			return fmt.Errorf("it has no section %q", last)
		}
		return nil
	}
}

func verifierKeys(raw []byte) error {
	var seeds []byte
	if _, err := fmt.Sscanf(string(raw), "%x", &seeds); err != nil || len(seeds) != 64 {
		return errors.New("it holds no keys")
	}
	return nil
}

// LevelDB checks a database of the chain: that what it begins with is there, and whole, each of its files.
func LevelDB(path string, whole bool) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return errors.New("the folder is empty")
	}
	name, err := os.ReadFile(filepath.Join(path, "CURRENT"))
	if err != nil {
		return errors.New("its CURRENT is missing")
	}
	manifest := string(bytes.TrimSpace(name))
	if info, err := os.Stat(filepath.Join(path, manifest)); !strings.HasPrefix(manifest, "MANIFEST-") || err != nil || info.Size() == 0 {
		return fmt.Errorf("its CURRENT names %.40q, which is no manifest here", manifest)
	}
	if !whole {
		return nil
	}
	// The end of its journal may be torn, as after any crash.
	const strict = opt.StrictManifest | opt.StrictBlockChecksum | opt.StrictReader
	db, err := leveldb.OpenFile(path, &opt.Options{ReadOnly: true, ErrorIfMissing: true, Strict: strict})
	if err != nil {
		return err
	}
	defer db.Close()
	it := db.NewIterator(nil, &opt.ReadOptions{DontFillCache: true, Strict: strict})
	defer it.Release()
	for it.Next() {
	}
	if err := it.Error(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if err != nil {
		return fmt.Errorf("a file of it is gone: %v", err)
	}
	return nil
}
