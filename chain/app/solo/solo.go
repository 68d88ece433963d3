// Package solo runs the application without consensus: one goroutine at a time makes the blocks, as fast as it
// can. It is for tests and measurements that need the real state machine, real transactions and a clock that
// stands still in between.
//
//	validators, err := local.Init(local.Genesis{ChainID: "cairn-solo", Homes: homes, …})
//	c, err := solo.New(validators[0].Home, 400*time.Millisecond)
//	defer c.Close()
//	ledger, err := client.New(ctx, client.Config{RPC: c, Keyring: kb}) // each transaction sent gets a block of its own
//	c.AdvanceTo(100)
//
// Nobody signs blocks, so nobody misses one; everything else is as on a chain. A Chain answers the calls that
// chain/client makes, and no others.
package solo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/libs/bytes"
	"github.com/cometbft/cometbft/p2p"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/baseapp"
	sdkclient "github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/spf13/viper"

	"cosmossdk.io/log/v2"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/types"
)

// Chain is an application and its blocks. It is safe for concurrent use.
type Chain struct {
	sdkclient.CometRPC // nil: what chain/client does not call panics

	app      *app.App
	id       string
	interval time.Duration
	proposer []byte

	mu      sync.Mutex // guards all below, and the application
	headers []cmttypes.Header
	base    int64 // the first block that it can show: a chain that starts from an export does not have those before
	txs     map[string]*coretypes.ResultTx
	gas     int64
	bytes   int64
}

var _ sdkclient.CometRPC = (*Chain)(nil)

// New starts a chain in memory from the genesis in a home that local.Init made, and makes its first block. Time
// goes on by interval with each block.
func New(home string, interval time.Duration) (*Chain, error) {
	return open(home, interval, dbm.NewMemDB())
}

func open(home string, interval time.Duration, db dbm.DB) (*Chain, error) {
	doc, err := genutiltypes.AppGenesisFromFile(filepath.Join(home, "config", "genesis.json"))
	if err != nil {
		return nil, fmt.Errorf("solo: genesis: %w", err)
	}
	opts := viper.New()
	opts.Set(flags.FlagHome, home)
	a, err := app.Open(log.NewNopLogger(), db, opts, baseapp.SetChainID(doc.ChainID))
	if err != nil {
		return nil, err
	}
	c := &Chain{app: a, id: doc.ChainID, interval: interval, txs: map[string]*coretypes.ResultTx{}}
	c.headers = []cmttypes.Header{{Time: doc.GenesisTime.Add(-interval)}}
	if err := c.genesis(doc.Consensus.Params.ToProto(), doc.AppState); err != nil {
		a.Close()
		return nil, err
	}
	return c, c.block()
}

// genesis starts the application from a state, at the block after the newest.
func (c *Chain) genesis(params cmtproto.ConsensusParams, state []byte) error {
	last := c.headers[len(c.headers)-1]
	res, err := c.app.InitChain(&abci.RequestInitChain{
		Time: last.Time.Add(c.interval), ChainId: c.id, ConsensusParams: &params, AppStateBytes: state, InitialHeight: int64(len(c.headers)),
	})
	if err != nil {
		return fmt.Errorf("solo: genesis: %w", err)
	}
	if len(res.Validators) == 0 {
		return errors.New("solo: genesis without validators")
	}
	key, err := cmttypes.PB2TM.ValidatorUpdates(res.Validators[:1])
	if err != nil {
		return fmt.Errorf("solo: validators: %w", err)
	}
	c.proposer = key[0].Address
	return nil
}

// Fork exports the state and starts another chain from it, which goes on behind the empty block that the export
// adds. home is for what the application writes beside its state.
func (c *Chain) Fork(home string) (*Chain, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out, err := c.app.Export(nil)
	if err != nil {
		return nil, err
	}
	opts := viper.New()
	opts.Set(flags.FlagHome, home)
	a, err := app.Open(log.NewNopLogger(), dbm.NewMemDB(), opts, baseapp.SetChainID(c.id))
	if err != nil {
		return nil, err
	}
	f := &Chain{
		app: a, id: c.id, interval: c.interval, headers: slices.Clone(c.headers), base: out.Height,
		txs: map[string]*coretypes.ResultTx{},
	}
	f.headers = append(f.headers, cmttypes.Header{Time: f.headers[len(f.headers)-1].Time.Add(c.interval)}) // the empty block, which nobody can read
	if err := f.genesis(out.ConsensusParams, out.AppState); err != nil {
		a.Close()
		return nil, err
	}
	return f, f.block()
}

// Close ends the application.
func (c *Chain) Close() error { return c.app.Close() }

// App returns the application. It must not be written to.
func (c *Chain) App() *app.App { return c.app }

// Height returns the newest block.
func (c *Chain) Height() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.height()
}

func (c *Chain) height() uint64 { return uint64(len(c.headers) - 1) }

// Used returns the gas and the bytes of all transactions so far.
func (c *Chain) Used() (gas, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gas, c.bytes
}

// AdvanceTo makes empty blocks up to height.
func (c *Chain) AdvanceTo(height uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.height() < height {
		if err := c.block(); err != nil {
			return err
		}
	}
	return nil
}

// Deliver makes one block of transactions and returns their results.
func (c *Chain) Deliver(txs ...cmttypes.Tx) ([]*abci.ExecTxResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.block(txs...); err != nil {
		return nil, err
	}
	var out []*abci.ExecTxResult
	for _, tx := range txs {
		out = append(out, &c.txs[string(tx.Hash())].TxResult)
	}
	return out, nil
}

// block makes one. The caller holds mu, or nobody else has c yet.
func (c *Chain) block(txs ...cmttypes.Tx) error {
	last := c.headers[len(c.headers)-1]
	h := int64(len(c.headers))
	mark := types.Sum([]byte("solo"), binary.BigEndian.AppendUint64(nil, uint64(h)))
	head := cmttypes.Header{
		ChainID: c.id, Height: h, Time: last.Time.Add(c.interval), ValidatorsHash: mark[:], ProposerAddress: c.proposer,
	}
	req := &abci.RequestFinalizeBlock{Height: h, Time: head.Time, Hash: head.Hash(), ProposerAddress: c.proposer, NextValidatorsHash: mark[:]}
	for _, tx := range txs {
		req.Txs = append(req.Txs, tx)
	}
	res, err := c.app.FinalizeBlock(req)
	if err != nil {
		return fmt.Errorf("solo: block %d: %w", h, err)
	}
	if _, err := c.app.Commit(); err != nil {
		return fmt.Errorf("solo: block %d: %w", h, err)
	}
	for i, tx := range txs {
		c.gas += res.TxResults[i].GasUsed
		c.bytes += int64(len(tx))
		c.txs[string(tx.Hash())] = &coretypes.ResultTx{Hash: tx.Hash(), Height: h, Index: uint32(i), TxResult: *res.TxResults[i], Tx: tx}
	}
	c.headers = append(c.headers, head)
	return nil
}

// Status implements sdkclient.CometRPC.
func (c *Chain) Status(context.Context) (*coretypes.ResultStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &coretypes.ResultStatus{
		NodeInfo: p2p.DefaultNodeInfo{Network: c.id}, SyncInfo: coretypes.SyncInfo{LatestBlockHeight: int64(c.height())},
	}, nil
}

// ABCIInfo implements sdkclient.CometRPC.
func (c *Chain) ABCIInfo(context.Context) (*coretypes.ResultABCIInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &coretypes.ResultABCIInfo{Response: abci.ResponseInfo{LastBlockHeight: int64(c.height())}}, nil
}

// Commit implements sdkclient.CometRPC. The header's hash is no real one, but it differs between blocks.
func (c *Chain) Commit(_ context.Context, height *int64) (*coretypes.ResultCommit, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := int64(c.height())
	if height != nil {
		at = *height
	}
	if at < max(c.base, 1) || at >= int64(len(c.headers)) {
		return nil, fmt.Errorf("height %d is not available, lowest height is %d", at, max(c.base, 1)) // as CometBFT says it
	}
	return &coretypes.ResultCommit{SignedHeader: cmttypes.SignedHeader{Header: &c.headers[at]}}, nil
}

// Tx implements sdkclient.CometRPC.
func (c *Chain) Tx(_ context.Context, hash []byte, _ bool) (*coretypes.ResultTx, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tx := c.txs[string(hash)]; tx != nil {
		return tx, nil
	}
	return nil, fmt.Errorf("solo: no transaction %X", hash)
}

// ABCIQuery implements sdkclient.CometRPC.
func (c *Chain) ABCIQuery(ctx context.Context, path string, data bytes.HexBytes) (*coretypes.ResultABCIQuery, error) {
	return c.ABCIQueryWithOptions(ctx, path, data, rpcclient.ABCIQueryOptions{})
}

// ABCIQueryWithOptions implements sdkclient.CometRPC.
func (c *Chain) ABCIQueryWithOptions(ctx context.Context, path string, data bytes.HexBytes, o rpcclient.ABCIQueryOptions) (*coretypes.ResultABCIQuery, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res, err := c.app.Query(ctx, &abci.RequestQuery{Path: path, Data: data, Height: o.Height, Prove: o.Prove})
	if err != nil {
		return nil, err
	}
	return &coretypes.ResultABCIQuery{Response: *res}, nil
}

// BroadcastTxSync implements sdkclient.CometRPC: a transaction that passes the mempool's check is in a block at once.
func (c *Chain) BroadcastTxSync(_ context.Context, tx cmttypes.Tx) (*coretypes.ResultBroadcastTx, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res, err := c.app.CheckTx(&abci.RequestCheckTx{Tx: tx, Type: abci.CheckTxType_New})
	if err != nil {
		return nil, err
	}
	if res.Code == abci.CodeTypeOK {
		if err := c.block(tx); err != nil {
			return nil, err
		}
	}
	return &coretypes.ResultBroadcastTx{Code: res.Code, Data: res.Data, Log: res.Log, Codespace: res.Codespace, Hash: tx.Hash()}, nil
}
