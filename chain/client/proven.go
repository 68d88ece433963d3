package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/light"
	"github.com/cometbft/cometbft/light/provider"
	"github.com/cometbft/cometbft/light/provider/http"
	lightdb "github.com/cometbft/cometbft/light/store/db"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	cmttypes "github.com/cometbft/cometbft/types"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"

	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Pin is a block that is believed: a light client goes on from it.
type Pin struct {
	Height uint64
	Hash   types.Hash
}

// ParsePin reads HEIGHT:HASH.
func ParsePin(text string) (p Pin, err error) {
	height, hash, ok := strings.Cut(text, ":")
	if p.Height, err = strconv.ParseUint(height, 10, 62); err != nil || !ok || p.Height == 0 {
		return p, fmt.Errorf("block %.100q: want HEIGHT:HASH", text)
	}
	if p.Hash, err = types.ParseHash(strings.ToLower(hash)); err != nil {
		return p, fmt.Errorf("block %.100q: want HEIGHT:HASH: %w", text, err)
	}
	return p, nil
}

// String writes HEIGHT:HASH.
func (p Pin) String() string { return fmt.Sprintf("%d:%s", p.Height, p.Hash) }

// ErrPin says that a node and a pinned block do not go together: the node does not have it, has another, or it
// is too old to go on from.
var ErrPin = errors.New("client: the pinned block")

// ErrProof says that a node's answer is not what the chain's state holds: the node lies, or somebody in between.
var ErrProof = errors.New("client: the node's answer is not proven")

// Proven reads what tallies are made from, as of one block. Everything in its answers follows from the state of
// that block by proofs, and the block from the pinned one by its validators' signatures. So it takes on trust
// the pin, and that more than two thirds of the stake since then is honest; the node is not trusted. It answers
// what verifier.Compare asks.
type Proven struct {
	c       *Client
	app     []byte // hash of the state
	height  int64  // the block after which the state is as app says
	runtime *merkle.ProofRuntime
	newest  Pin
}

// Prove makes a Proven of the newest block, by CometBFT's light client. period is for how long after a block
// its validators can be made to pay for a lie: less than the time of unbonding. witnesses are URLs of further
// nodes that must agree with this one.
func (c *Client) Prove(ctx context.Context, pin Pin, period time.Duration, witnesses ...string) (*Proven, error) {
	remote, ok := c.rpc.(rpcclient.RemoteClient)
	if !ok {
		return nil, errors.New("client: a node in this process needs no proof")
	}
	primary := http.NewWithClient(c.chain, remote)
	others := []provider.Provider{primary} // the light client insists on one
	for i, url := range witnesses {
		w, err := http.New(c.chain, url)
		if err != nil {
			return nil, fmt.Errorf("client: %s: %w", url, err)
		}
		others = append(others[:min(i, 1)*len(others)], w)
	}
	lc, err := light.NewClient(ctx, c.chain, light.TrustOptions{Period: period, Height: int64(pin.Height), Hash: pin.Hash[:]},
		primary, others, lightdb.New(cmtdb.NewMemDB(), c.chain))
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPin, pin, err)
	}
	now := time.Now()
	head, err := lc.Update(ctx, now)
	if err == nil && head == nil { // no block since
		head, err = lc.TrustedLightBlock(0)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s does not lead to the newest: %w", ErrPin, pin, err)
	}
	if head.Height < 2 {
		return nil, fmt.Errorf("client: there is no state to prove from yet: %w", ledger.ErrNotFound)
	}
	return &Proven{
		c: c, app: head.AppHash, height: head.Height - 1, runtime: rootmulti.DefaultProofRuntime(),
		newest: Pin{uint64(head.Height), types.Hash(head.Hash())},
	}, nil
}

// Newest returns the block that was found to follow from the pinned one.
func (p *Proven) Newest() Pin { return p.newest }

// Chain returns the chain's id.
func (p *Proven) Chain() string { return p.c.chain }

// get returns what the store of x/tally holds under a key, ErrNotFound for nothing; both are proven.
func (p *Proven) get(ctx context.Context, what string, key []byte) ([]byte, error) {
	res, err := p.c.rpc.ABCIQueryWithOptions(ctx, "/store/"+tallytypes.StoreKey+"/key", key, rpcclient.ABCIQueryOptions{Height: p.height, Prove: true})
	if err != nil {
		return nil, fmt.Errorf("client: %s: %w", what, err)
	}
	r := &res.Response
	if !r.IsOK() {
		return nil, fmt.Errorf("client: %s as of block %d: %s", what, p.height, r.Log)
	}
	if r.ProofOps == nil {
		return nil, fmt.Errorf("%w: %s: without a proof", ErrProof, what)
	}
	path := merkle.KeyPath{}.AppendKey([]byte(tallytypes.StoreKey), merkle.KeyEncodingURL).AppendKey(key, merkle.KeyEncodingHex).String()
	if len(r.Value) == 0 {
		if err := p.runtime.VerifyAbsence(r.ProofOps, p.app, path); err != nil {
			return nil, fmt.Errorf("%w: that there is no %s: %w", ErrProof, what, err)
		}
		return nil, fmt.Errorf("client: %s: %w", what, ledger.ErrNotFound)
	}
	if err := p.runtime.VerifyValue(r.ProofOps, p.app, path, r.Value); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProof, what, err)
	}
	return r.Value, nil
}

// record returns the chain's record of an epoch.
func (p *Proven) record(ctx context.Context, e types.Epoch) (*tallytypes.Epoch, error) {
	raw, err := p.get(ctx, fmt.Sprintf("epoch %d", e), tallytypes.EpochKey(uint64(e)))
	if err != nil {
		return nil, err
	}
	rec := new(tallytypes.Epoch)
	if err := rec.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("client: epoch %d: %w", e, err)
	}
	return rec, nil
}

// Epoch is that of ledger.Reader.
func (p *Proven) Epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error) {
	rec, err := p.record(ctx, e)
	if err != nil {
		return nil, err
	}
	for i := range rec.Categories {
		k := &rec.Categories[i]
		if len(k.RulesHash) == 0 {
			continue
		}
		if k.Rules, err = p.get(ctx, fmt.Sprintf("rules of category %d", k.Category), tallytypes.RulesKey(k.RulesHash)); err != nil {
			return nil, err
		}
	}
	return epoch(rec)
}

// Header is that of ledger.Reader, without the votes on one that was appealed.
func (p *Proven) Header(ctx context.Context, e types.Epoch, region types.Region) (*ledger.Header, error) {
	raw, err := p.get(ctx, fmt.Sprintf("header of epoch %d, region %d", e, region), tallytypes.HeaderKey(uint32(region), uint64(e)))
	if err != nil {
		return nil, err
	}
	var h tallytypes.Header
	if err := h.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("client: header of epoch %d: %w", e, err)
	}
	return headerOf(&h)
}

// Settlement is that of ledger.Reader.
func (p *Proven) Settlement(ctx context.Context, e types.Epoch) (*tally.Settlement, error) {
	raw, err := p.get(ctx, fmt.Sprintf("settlement of epoch %d", e), tallytypes.SettlementKey(uint64(e)))
	if err != nil {
		return nil, err
	}
	var s tallytypes.Settlement
	if err := s.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("client: settlement of epoch %d: %w", e, err)
	}
	return settlementOf(e, &s)
}

// Changes is that of ledger.Reader: what the node says, which must add up to what the chain added up.
func (p *Proven) Changes(ctx context.Context, e types.Epoch, region types.Region) ([]tally.Change, error) {
	rec, err := p.record(ctx, e)
	if err != nil {
		return nil, err
	}
	if int(region) >= len(rec.Changes) {
		return nil, fmt.Errorf("client: registry changes of epoch %d are not added up yet: %w", e, ledger.ErrNotFound)
	}
	list, err := p.c.Changes(ctx, e, region)
	if err != nil {
		return nil, err
	}
	if sum := tally.AddChanges(types.Hash{}, list); !bytes.Equal(sum[:], rec.Changes[region]) {
		return nil, fmt.Errorf("%w: registry changes of epoch %d, region %d add up to %s, the chain's to %x", ErrProof, e, region, sum, rec.Changes[region])
	}
	return list, nil
}

// maxLinked bounds how many headers of blocks are read to prove one range of hashes; maxProven how many hashes
// are proven one by one.
const (
	maxLinked = 60_000
	maxProven = 5_000
)

// Hashes is that of ledger.Reader: from the hash that the chain keeps of the first block of the epoch after the
// range, back through the headers of the blocks; where the node does not have those, from the state, one by
// one.
func (p *Proven) Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error) {
	if from == 0 || from > to || to > uint64(p.height) {
		return nil, fmt.Errorf("client: hashes of blocks %d to %d of %d: %w", from, to, p.height, ledger.ErrNotFound)
	}
	anchor, hash, err := p.anchor(ctx, to)
	if err != nil {
		return nil, err
	}
	if anchor-from > maxLinked {
		return nil, fmt.Errorf("client: hashes of %d blocks, at most %d are read: %w", anchor-from, maxLinked, ledger.ErrNotFound)
	}
	out := make([]tally.BlockHash, to-from+1)
	at := anchor // the block whose header is wanted; hash is its
links:
	for at > from {
		headers, err := p.headers(ctx, max(from+1, at-min(at, 19)), at)
		if err != nil {
			return nil, err
		}
		if len(headers) == 0 {
			break
		}
		for _, h := range headers {
			if h == nil || uint64(h.Height) != at || !bytes.Equal(h.Hash(), hash) {
				return nil, fmt.Errorf("%w: block %d is not the one that the chain names", ErrProof, at)
			}
			at--
			if hash = h.LastBlockID.Hash; len(hash) == 0 { // the first block of a chain that starts from an export
				break links
			}
			if at <= to {
				out[at-from] = tally.BlockHash{Height: at, Hash: types.Hash(hash)}
			}
			if at == from {
				break
			}
		}
	}
	for h := min(at, to); h >= from; h-- {
		if out[h-from].Height != 0 {
			continue
		}
		if h-from > maxProven {
			return nil, fmt.Errorf("client: the node does not have blocks %d to %d: %w", from, h, ledger.ErrNotFound)
		}
		raw, err := p.get(ctx, fmt.Sprintf("hash of block %d", h), tallytypes.BlockKey(h))
		if err != nil {
			return nil, err
		}
		out[h-from] = tally.BlockHash{Height: h, Hash: types.Hash(raw)}
	}
	return out, nil
}

// anchor returns the first block after a height whose hash the chain keeps by epoch, or the newest block that
// was verified.
func (p *Proven) anchor(ctx context.Context, height uint64) (uint64, []byte, error) {
	e, err := p.c.epochOf(ctx, height)
	if err != nil {
		return 0, nil, err
	}
	rec, err := p.record(ctx, e+1)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && (len(rec.Hash) == 0 || rec.First <= height) {
		return p.newest.Height, p.newest.Hash[:], nil
	}
	if err != nil {
		return 0, nil, err
	}
	return rec.First, rec.Hash, nil
}

// headers returns the headers of blocks from to to, descending; none if the node does not have the last of them.
func (p *Proven) headers(ctx context.Context, from, to uint64) ([]*cmttypes.Header, error) {
	res, err := p.c.rpc.BlockchainInfo(ctx, int64(from), int64(to))
	if err != nil {
		if strings.Contains(err.Error(), "min height") { // CometBFT's words for blocks before its first
			return nil, nil
		}
		return nil, fmt.Errorf("client: headers of blocks %d to %d: %w", from, to, err)
	}
	var out []*cmttypes.Header
	for _, m := range res.BlockMetas {
		if m == nil {
			break
		}
		out = append(out, &m.Header)
	}
	return out, nil
}
