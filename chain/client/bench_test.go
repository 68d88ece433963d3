package client_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cosmos/cosmos-sdk/client/tx"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/solo"
	"github.com/cairn-network/cairn/chain/client"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

const (
	benchEpoch  = 10    // blocks
	benchOwners = 1_000 // accounts that exist and hold STONE
)

// fleet is a chain whose header counts many devices, of which it knows some by registration.
type fleet struct {
	*chain
	solo   *solo.Chain
	ledger *client.Client
	books  *ledgertest.Books
	keys   []types.Key
	paid   types.Credit // to each device, each epoch
	epoch  types.Epoch  // the newest that has a header
	writes *writes
}

// newFleet starts a chain on which the first registered of count devices are registered, and runs it through
// its first two epochs: from then on, each pays.
func newFleet(b *testing.B, count, registered int, paid types.Credit) *fleet {
	c := &fleet{chain: made(b, 1, benchEpoch), books: ledgertest.NewBooks(), paid: paid}
	for i := range count {
		c.keys = append(c.keys, types.Key(types.Sum([]byte("device"), binary.BigEndian.AppendUint64(nil, uint64(i)))))
	}
	c.populate(b, registered)
	c.solo = c.chain.solo(b)
	c.ledger = c.open(b, c.solo)
	c.writes = listen(c.solo.App())
	amount := types.Ustone(10_000 * stone)
	if _, err := c.ledger.Submit(b.Context(), c.accounts[0], ledger.Buy{Amount: amount}); err != nil {
		b.Fatal(err)
	}
	for range 2 {
		c.commit(b)
	}
	return c
}

// owner is the account of the owner of device i.
func owner(i int) sdk.AccAddress {
	sum := types.Sum([]byte("owner"), binary.BigEndian.AppendUint64(nil, uint64(i%benchOwners)))
	return sdk.AccAddress(sum[:20])
}

// populate adds devices and their owners to the genesis.
func (c *fleet) populate(b *testing.B, registered int) {
	path := filepath.Join(c.validators[0].Home, "config", "genesis.json")
	doc, err := genutiltypes.AppGenesisFromFile(path)
	if err != nil {
		b.Fatal(err)
	}
	cdc := app.NewEncoding().Codec
	state, err := genutiltypes.GenesisStateFromAppGenesis(doc)
	if err != nil {
		b.Fatal(err)
	}
	var devices devicetypes.GenesisState
	cdc.MustUnmarshalJSON(state[devicetypes.ModuleName], &devices)
	devices.Running = true // their registration is not what is measured
	for i, key := range c.keys[:registered] {
		devices.Devices = append(devices.Devices, devicetypes.Device{
			Device: key.String(), Owner: owner(i).String(), Categories: []uint32{uint32(ledgertest.Category)}, Cell: "8a1fb46622dffff",
			Status: devicetypes.Status_STATUS_ACTIVE, Registered: 1,
		})
	}
	state[devicetypes.ModuleName] = cdc.MustMarshalJSON(&devices)
	var accounts authtypes.GenesisState
	cdc.MustUnmarshalJSON(state[authtypes.ModuleName], &accounts)
	var bank banktypes.GenesisState
	cdc.MustUnmarshalJSON(state[banktypes.ModuleName], &bank)
	list := make([]authtypes.GenesisAccount, benchOwners)
	coins := sdk.NewCoins(sdk.NewInt64Coin(app.Denom, stone))
	for i := range list {
		list[i] = authtypes.NewBaseAccountWithAddress(owner(i))
		bank.Balances = append(bank.Balances, banktypes.Balance{Address: owner(i).String(), Coins: coins})
		bank.Supply = bank.Supply.Add(coins...)
	}
	packed, err := authtypes.PackAccounts(list)
	if err != nil {
		b.Fatal(err)
	}
	accounts.Accounts = append(accounts.Accounts, packed...)
	state[authtypes.ModuleName] = cdc.MustMarshalJSON(&accounts)
	state[banktypes.ModuleName] = cdc.MustMarshalJSON(&bank)
	if doc.AppState, err = json.Marshal(state); err != nil {
		b.Fatal(err)
	}
	if err := doc.SaveAs(path); err != nil {
		b.Fatal(err)
	}
}

// commit runs the chain through the next epoch and commits its header, in which every device was paid once more.
func (c *fleet) commit(b *testing.B) {
	ctx := b.Context()
	c.epoch++
	if err := c.solo.AdvanceTo(uint64(c.epoch) * benchEpoch); err != nil {
		b.Fatal(err)
	}
	if c.books.Last > 0 {
		s, err := c.ledger.Settlement(ctx, c.books.Last)
		if err == nil {
			err = c.books.Fold(s)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, key := range c.keys {
		if line := c.books.Line(key); c.epoch > 1 {
			line.Paid += c.paid
		}
	}
	ep, err := c.ledger.Epoch(ctx, c.epoch)
	if err != nil {
		b.Fatal(err)
	}
	seat := c.verifiers[0]
	h, err := c.books.Header(chainID, ep, 0, seat.VRF)
	if err != nil {
		b.Fatal(err)
	}
	hash := h.Hash()
	_, err = c.ledger.Submit(ctx, c.accounts[0], ledger.Commit{
		Header: h.Encode(), Bitmap: []byte{1}, Signatures: []types.Signature{seat.Key.Sign("header", chainID, hash[:])},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// writes is what a chain wrote to its state.
type writes struct{ store storetypes.CommitMultiStore }

// listen begins to note what a chain writes.
func listen(a *app.App) *writes {
	w := &writes{a.CommitMultiStore()}
	var keys []storetypes.StoreKey
	for _, key := range w.store.(interface {
		StoreKeysByName() map[string]storetypes.StoreKey
	}).StoreKeysByName() {
		keys = append(keys, key)
	}
	w.store.AddListeners(keys)
	return w
}

// take returns how many bytes of keys and values were written since the last call.
func (w *writes) take() (n int) {
	for _, pair := range w.store.PopStateCache() {
		n += len(pair.Key) + len(pair.Value)
	}
	return n
}

// BenchmarkEpoch runs whole epochs: header, settlement, finality of the one before. The same money goes to
// fewer devices or more. What that costs the chain must not depend on how many they are.
func BenchmarkEpoch(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("devices=%06d", n), func(b *testing.B) {
			c := newFleet(b, n, n, types.Credit(10_000_000/n))
			gas, size := c.solo.Used()
			c.writes.take()
			epochs := 0
			for b.Loop() {
				c.commit(b)
				epochs++
			}
			gas2, size2 := c.solo.Used()
			b.ReportMetric(float64(gas2-gas)/float64(epochs), "gas/epoch")
			b.ReportMetric(float64(size2-size)/float64(epochs), "tx-bytes/epoch")
			b.ReportMetric(float64(c.writes.take())/float64(epochs), "state-bytes/epoch")
		})
	}
}

const (
	claimTxs = 10  // batches in a block
	sendTxs  = 500 // sends in a block
)

// BenchmarkClaims compares claims in full batches with bank sends, one each transaction as wallets make them,
// block by block in turn on one chain. Both pay accounts that exist, and pass the mempool's check and the
// block; the chain makes them alone, without consensus, which would cost sends more than claims. Rates are per
// second of processor time. Target: claims twice as fast.
func BenchmarkClaims(b *testing.B) {
	const registered = 40_000
	c := newFleet(b, 100_000, registered, 1_000)
	c.commit(b)
	claims := c.claims(b, registered)
	c.commit(b)
	if err := c.solo.AdvanceTo(uint64(c.epoch+1)*benchEpoch + 1); err != nil {
		b.Fatal(err)
	}
	params := tallytypes.DefaultParams()
	size := int(params.MaxClaims)
	claimer, sender := c.signer(b, 1), c.signer(b, 2)
	var claimed, sent int
	var claiming, sending time.Duration
	var gas int64
	for b.Loop() {
		var batches, sends []cmttypes.Tx
		for range claimTxs {
			if claimed+size > len(claims) {
				b.Fatalf("%d claims are too few for that many iterations", len(claims))
			}
			batches = append(batches, claimer.sign(b, 100_000_000, &tallytypes.MsgClaimBatch{Sender: claimer.address.String(), Claims: claims[claimed : claimed+size]}))
			claimed += size
		}
		for range sendTxs {
			sends = append(sends, sender.sign(b, 200_000, &banktypes.MsgSend{
				FromAddress: sender.address.String(), ToAddress: owner(sent).String(), Amount: sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1)),
			}))
			sent++
		}
		took, used := c.deliver(b, batches)
		claiming, gas = claiming+took, gas+used
		took, _ = c.deliver(b, sends)
		sending += took
	}
	b.ReportMetric(float64(claimed)/claiming.Seconds(), "claims/s")
	b.ReportMetric(float64(sent)/sending.Seconds(), "sends/s")
	b.ReportMetric(float64(claimed)/claiming.Seconds()/(float64(sent)/sending.Seconds()), "ratio")
	b.ReportMetric(float64(gas)/float64(claimed), "gas/claim")
}

// claims returns the claims of the first devices against the newest header.
func (c *fleet) claims(b *testing.B, n int) []tallytypes.Claim {
	keys := slices.Clone(c.keys)
	slices.SortFunc(keys, func(a, b types.Key) int { return bytes.Compare(a[:], b[:]) })
	at := make(map[types.Key]int, len(keys))
	leaves := make([]tally.Leaf, len(keys))
	nodes := make([]merkle.Node, len(keys))
	for i, key := range keys {
		l := c.books.Line(key)
		leaves[i] = tally.Leaf{Device: key, Amount: l.Amount, Penalty: l.Penalty, Rest: types.Sum(types.Encode([]any{l.Paid, l.Settled}))}
		nodes[i], at[key] = leaves[i].Node(), i
	}
	tree, err := merkle.NewSumTree(nodes)
	if err != nil {
		b.Fatal(err)
	}
	out := make([]tallytypes.Claim, n)
	for i, key := range c.keys[:n] {
		out[i] = tallytypes.Claim{Epoch: uint64(c.epoch), Leaf: types.Encode(&leaves[at[key]]), Index: uint64(at[key])}
		for _, s := range tree.Proof(at[key]).Siblings {
			out[i].Siblings = append(binary.BigEndian.AppendUint64(out[i].Siblings, s.Sum), s.Hash[:]...)
		}
	}
	return out
}

// deliver has the mempool check transactions and then makes a block of them. It returns the processor time of
// both, and the gas.
func (c *fleet) deliver(b *testing.B, txs []cmttypes.Tx) (took time.Duration, gas int64) {
	start := processor()
	for _, raw := range txs {
		res, err := c.solo.App().CheckTx(&abci.RequestCheckTx{Tx: raw, Type: abci.CheckTxType_New})
		if err != nil || res.Code != abci.CodeTypeOK {
			b.Fatal(res, err)
		}
	}
	results, err := c.solo.Deliver(txs...)
	if err != nil {
		b.Fatal(err)
	}
	took = processor() - start
	for _, res := range results {
		if res.Code != abci.CodeTypeOK {
			b.Fatal(res.Log)
		}
		gas += res.GasUsed
	}
	return took, gas
}

// processor is the processor time that this process has used, on all cores.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// signer is an account that signs one transaction after the other.
type signer struct {
	name    string
	address sdk.AccAddress
	factory tx.Factory
	enc     app.Encoding
}

func (c *fleet) signer(b *testing.B, i int) *signer {
	s := &signer{name: fmt.Sprintf("account-%d", i), address: sdk.AccAddress(c.accounts[i][:])}
	var res authtypes.QueryAccountInfoResponse
	raw, err := (&authtypes.QueryAccountInfoRequest{Address: s.address.String()}).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	got, err := c.solo.ABCIQuery(b.Context(), "/cosmos.auth.v1beta1.Query/AccountInfo", raw)
	if err == nil {
		err = res.Unmarshal(got.Response.Value)
	}
	if err != nil {
		b.Fatal(err)
	}
	s.enc = app.NewEncoding()
	s.factory = tx.Factory{}.WithChainID(chainID).WithKeybase(c.chain.keys).WithTxConfig(s.enc.TxConfig).
		WithAccountNumber(res.Info.AccountNumber).WithSequence(res.Info.Sequence)
	return s
}

func (s *signer) sign(b *testing.B, gas uint64, msg sdk.Msg) cmttypes.Tx {
	f := s.factory.WithGas(gas)
	builder, err := f.BuildUnsignedTx(msg)
	if err == nil {
		err = tx.Sign(b.Context(), f, s.name, builder, true)
	}
	if err != nil {
		b.Fatal(err)
	}
	raw, err := s.enc.TxConfig.TxEncoder()(builder.GetTx())
	if err != nil {
		b.Fatal(err)
	}
	s.factory = s.factory.WithSequence(s.factory.Sequence() + 1)
	return raw
}
