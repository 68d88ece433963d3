package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/store"
	dbm "github.com/cosmos/cosmos-db"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/types"
)

// signed is what CometBFT keeps beside the data of what this validator signed last. A chain that begins anew
// from an export goes on with the next height, so it stays in force: no height is signed twice, whatever
// becomes of the old chain.
const signed = "priv_validator_state.json"

// Renew has the chain in a home, where no node runs, begin anew from a genesis that was exported from it, at
// the height that the export says. The node's keys and what it signed last stay. The old data and genesis are
// moved aside, to the folder that is returned. Every validator of the chain has to do the same with the same
// file.
func Renew(home string, doc *genutiltypes.AppGenesis) (old string, err error) {
	genesis, data := filepath.Join(home, "config", "genesis.json"), filepath.Join(home, "data")
	before, err := genutiltypes.AppGenesisFromFile(genesis)
	if err != nil {
		return "", fmt.Errorf("local: %w: %w", ErrHome, err)
	}
	if err := doc.ValidateAndComplete(); err != nil {
		return "", fmt.Errorf("local: genesis: %w", err)
	}
	if doc.ChainID != before.ChainID {
		return "", fmt.Errorf("local: the export is of %s, the home of %s", doc.ChainID, before.ChainID)
	}
	if doc.InitialHeight <= 1 {
		return "", errors.New("local: this is no export: it begins with block 1")
	}
	raw, err := os.ReadFile(filepath.Join(data, signed))
	if err != nil {
		return "", fmt.Errorf("local: what the validator signed last: %w", err)
	}
	var last struct {
		Height int64 `json:"height,string"`
	}
	if err := json.Unmarshal(raw, &last); err != nil {
		return "", fmt.Errorf("local: what the validator signed last: %w", err)
	}
	if last.Height >= doc.InitialHeight {
		return "", fmt.Errorf("local: the export goes on with block %d, and this validator has signed block %d: export where the last block is the highest, with all validators stopped",
			doc.InitialHeight, last.Height)
	}
	db, err := dbm.NewDB("application", dbm.GoLevelDBBackend, data) // which fails while a node runs
	if err != nil {
		return "", busy(err, "begin anew in "+home)
	}
	if err := db.Close(); err != nil {
		return "", fmt.Errorf("local: begin anew in %s: %w", home, err)
	}
	old = filepath.Join(home, "before-"+time.Now().UTC().Format("20060102-150405"))
	if err := os.Mkdir(old, 0o700); err != nil {
		return "", types.Refuse(types.HomeUnwritable, "local: make %s: %v", old, err)
	}
	fail := func(err error) (string, error) {
		return old, types.Refuse(types.HomeUnwritable, "local: begin anew in %s: %v", home, err)
	}
	if err := os.Rename(data, filepath.Join(old, "data")); err != nil {
		return fail(err)
	}
	if err := os.Rename(genesis, filepath.Join(old, "genesis.json")); err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fail(err)
	}
	if err := os.WriteFile(filepath.Join(data, signed), raw, 0o600); err != nil {
		return fail(err)
	}
	if err := doc.SaveAs(genesis); err != nil { // last: a home with a genesis is whole
		return fail(err)
	}
	return old, nil
}

// Dated gives an exported genesis of the chain in home its time: just after the last block that it holds and
// the empty one that the export adds (app.Export). CometBFT takes it for the time of the first block, and time
// must not run backwards. It is the same for every validator that exports after the same block.
func Dated(home string, doc *genutiltypes.AppGenesis) error {
	db, err := cmtdb.NewDB("blockstore", cmtdb.GoLevelDBBackend, filepath.Join(home, "data"))
	if err != nil {
		return busy(err, "read the last block of "+home)
	}
	defer db.Close()
	last := store.NewBlockStore(db).LoadBlockMeta(doc.InitialHeight - 2)
	if last == nil {
		return fmt.Errorf("local: %s does not hold block %d, after which the export was made", home, doc.InitialHeight-2)
	}
	doc.GenesisTime = last.Header.Time.Add(2 * app.ExportStep)
	return nil
}
