package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	grpctypes "github.com/cosmos/cosmos-sdk/types/grpc"
	"github.com/cosmos/cosmos-sdk/types/query"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"google.golang.org/grpc/metadata"

	"github.com/cairn-network/cairn/chain/app"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// page is how many rows one query of a list returns.
const page = 500

// at lets all queries under the context that it returns read the state as of a block.
func at(ctx context.Context, height uint64) context.Context {
	return metadata.AppendToOutgoingContext(ctx, grpctypes.GRPCBlockHeightHeader, strconv.FormatUint(height, 10))
}

// Head implements ledger.Reader.
func (c *Client) Head(ctx context.Context) (ledger.Block, error) {
	h, err := c.height(ctx)
	if err != nil {
		return ledger.Block{}, err
	}
	return c.block(ctx, h)
}

// height returns the newest block that the application has committed: what queries see. The block store may be
// one ahead.
func (c *Client) height(ctx context.Context) (uint64, error) {
	info, err := c.rpc.ABCIInfo(ctx)
	if err != nil {
		return 0, fmt.Errorf("client: ask for the height: %w", err)
	}
	if info.Response.LastBlockHeight <= 0 {
		return 0, fmt.Errorf("client: there is no block yet: %w", ledger.ErrNotFound)
	}
	return uint64(info.Response.LastBlockHeight), nil
}

// Block implements ledger.Reader.
func (c *Client) Block(ctx context.Context, height uint64) (ledger.Block, error) {
	head, err := c.height(ctx)
	if err != nil {
		return ledger.Block{}, err
	}
	if height == 0 || height > head {
		return ledger.Block{}, fmt.Errorf("client: block %d of %d: %w", height, head, ledger.ErrNotFound)
	}
	return c.block(ctx, height)
}

func (c *Client) block(ctx context.Context, height uint64) (ledger.Block, error) {
	b, err := c.commit(ctx, height)
	if err != nil {
		return ledger.Block{}, err
	}
	e, err := c.epochOf(ctx, height)
	if err != nil {
		return ledger.Block{}, err
	}
	return ledger.Block{Height: height, Hash: types.Hash(b.Hash()), Time: b.Time, Epoch: e}, nil
}

// Hashes implements ledger.Reader: what the state keeps, and what is older from the node's own blocks.
func (c *Client) Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error) {
	head, err := c.height(ctx)
	if err != nil {
		return nil, err
	}
	if from == 0 || from > to || to > head {
		return nil, fmt.Errorf("client: hashes of blocks %d to %d of %d: %w", from, to, head, ledger.ErrNotFound)
	}
	out := make([]tally.BlockHash, 0, to-from+1)
	for h := from; h <= to; h = from + uint64(len(out)) {
		res, err := c.tally.Blocks(ctx, &tallytypes.QueryBlocksRequest{From: h, Limit: uint32(min(to-h+1, page))})
		if err != nil {
			if err = fault(fmt.Sprintf("hash of block %d", h), err); !errors.Is(err, ledger.ErrNotFound) {
				return nil, err
			}
			for range min(to-h+1, 100) { // then the state is asked again
				b, err := c.commit(ctx, h)
				if err != nil {
					return nil, err
				}
				out = append(out, tally.BlockHash{Height: h, Hash: types.Hash(b.Hash())})
				h++
			}
			continue
		}
		for _, text := range res.Hashes[:min(uint64(len(res.Hashes)), to-h+1)] {
			hash, err := types.ParseHash(text)
			if err != nil {
				return nil, fmt.Errorf("client: hash of block %d: %w", h, err)
			}
			out = append(out, tally.BlockHash{Height: h, Hash: hash})
			h++
		}
	}
	return out, nil
}

// commit returns a block's header, ErrNotFound if the node does not have it.
func (c *Client) commit(ctx context.Context, height uint64) (*cmttypes.Header, error) {
	h := int64(height)
	res, err := c.rpc.Commit(ctx, &h)
	// CometBFT's words for a block before its first, and for one that a node which has just fetched a state does not have yet.
	if err != nil && !strings.Contains(err.Error(), "is not available") && !strings.Contains(err.Error(), "less than or equal to the current blockchain height") {
		return nil, fmt.Errorf("client: block %d: %w", height, err)
	}
	if err != nil || res == nil || res.Header == nil {
		return nil, fmt.Errorf("client: the node does not have block %d: %w", height, ledger.ErrNotFound)
	}
	return res.Header, nil
}

// epochOf returns the epoch that a block belongs to. Epochs are equally long while a program runs: only an
// upgrade changes that.
func (c *Client) epochOf(ctx context.Context, height uint64) (types.Epoch, error) {
	c.mu.Lock()
	t := c.table
	c.mu.Unlock()
	if t == nil {
		res, err := c.tally.Epoch(ctx, &tallytypes.QueryEpochRequest{})
		if err != nil {
			return 0, fault("ask for the epoch", err)
		}
		t = &timetable{types.Epoch(res.Epoch.Epoch), res.Epoch.First, res.Epoch.Cut - res.Epoch.First + 1}
		c.mu.Lock()
		c.table = t
		c.mu.Unlock()
	}
	if height >= t.first {
		return t.epoch + types.Epoch((height-t.first)/t.n), nil
	}
	back := types.Epoch((t.first - height + t.n - 1) / t.n)
	if back >= t.epoch {
		return 0, nil
	}
	return t.epoch - back, nil
}

// Epoch implements ledger.Reader.
func (c *Client) Epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error) {
	if e == 0 {
		return nil, fmt.Errorf("client: epoch 0: %w", ledger.ErrNotFound)
	}
	res, err := c.tally.Epoch(ctx, &tallytypes.QueryEpochRequest{Epoch: uint64(e)})
	if err != nil {
		return nil, fault(fmt.Sprintf("epoch %d", e), err)
	}
	return epoch(&res.Epoch)
}

func epoch(p *tallytypes.Epoch) (*ledger.Epoch, error) {
	if p.Time == 0 {
		return nil, fmt.Errorf("client: epoch %d has not begun: %w", p.Epoch, ledger.ErrNotFound)
	}
	out := &ledger.Epoch{
		Epoch: types.Epoch(p.Epoch), First: p.First, Cut: p.Cut, Time: time.Unix(p.Time, 0).UTC(), Challenged: p.Challenged,
		Round: p.RoundBlocks, Grace: p.GraceBlocks, Rules: p.Rules, MinOpening: types.Credit(p.MinOpening),
	}
	var err error
	if p.Seed != "" {
		if out.Seed, err = types.ParseHash(p.Seed); err != nil {
			return nil, fmt.Errorf("client: seed of epoch %d: %w", p.Epoch, err)
		}
	}
	for _, k := range p.Categories {
		out.Params = append(out.Params, tally.Params{
			Category: types.Category(k.Category), Quota: k.Quota, Threshold: k.Threshold, Hex: uint8(k.Hex),
			Bond: types.Ustone(k.Bond), Penalty: types.Ustone(k.Penalty), Rules: k.Rules,
		})
	}
	for i := range p.Verifiers {
		a, err := p.Verifiers[i].Attester()
		if err != nil {
			return nil, fmt.Errorf("client: verifier of epoch %d: %w", p.Epoch, err)
		}
		out.Verifiers = append(out.Verifiers, a)
	}
	for _, l := range p.Leaders {
		if int(l.Region) != len(out.Leaders) {
			return nil, fmt.Errorf("client: leaders of epoch %d: region %d in the place of %d", p.Epoch, l.Region, len(out.Leaders))
		}
		var keys []types.Key
		for _, text := range l.Keys {
			k, err := types.ParseKey(text)
			if err != nil {
				return nil, fmt.Errorf("client: leader of epoch %d, region %d: %w", p.Epoch, l.Region, err)
			}
			keys = append(keys, k)
		}
		out.Leaders = append(out.Leaders, keys)
	}
	return out, nil
}

// maxChanges bounds the registry changes of one epoch: several times those that 720 blocks have gas for.
const maxChanges = 1 << 20

// Changes implements ledger.Reader. It asks for page after page, and holds them all against what the chain has
// added up.
func (c *Client) Changes(ctx context.Context, e types.Epoch, region types.Region) ([]tally.Change, error) {
	var out []tally.Change
	req := &tallytypes.QueryChangesRequest{Epoch: uint64(e), Region: uint32(region)}
	for {
		res, err := c.tally.Changes(ctx, req)
		if err != nil {
			return nil, fault(fmt.Sprintf("registry changes of epoch %d, region %d", e, region), err)
		}
		for i, raw := range res.Changes {
			var change tally.Change
			if err := types.Decode(raw, &change); err != nil {
				return nil, fmt.Errorf("client: registry change %d of epoch %d: %w", len(out)+i, e, err)
			}
			out = append(out, change)
		}
		if len(res.Next) > 0 {
			if len(res.Changes) == 0 || bytes.Equal(res.Next, req.After) || len(out) > maxChanges {
				return nil, types.Refuse(types.Oversize, "client: registry changes of epoch %d do not end after %d", e, len(out))
			}
			req.After = res.Next
			continue
		}
		if sum := tally.AddChanges(types.Hash{}, out); res.Sum != "" && res.Sum != sum.String() {
			return nil, fmt.Errorf("client: registry changes of epoch %d add up to %s, the chain says %s", e, sum, res.Sum)
		}
		return out, nil
	}
}

// Header implements ledger.Reader.
func (c *Client) Header(ctx context.Context, e types.Epoch, region types.Region) (*ledger.Header, error) {
	res, err := c.tally.Header(ctx, &tallytypes.QueryHeaderRequest{Epoch: uint64(e), Region: uint32(region)})
	if err != nil {
		return nil, fault(fmt.Sprintf("header of epoch %d, region %d", e, region), err)
	}
	return c.header(ctx, &res.Header)
}

var statuses = map[tallytypes.Status]ledger.Status{
	tallytypes.Status_STATUS_OPEN: ledger.Open, tallytypes.Status_STATUS_SKIPPED: ledger.Skipped,
	tallytypes.Status_STATUS_ACCEPTED: ledger.Accepted, tallytypes.Status_STATUS_APPEALED: ledger.Appealed,
	tallytypes.Status_STATUS_FINAL: ledger.Final, tallytypes.Status_STATUS_VOIDED: ledger.Voided,
}

// headerOf returns a header as the chain keeps it.
func headerOf(p *tallytypes.Header) (*ledger.Header, error) {
	h := &ledger.Header{
		Epoch: types.Epoch(p.Epoch), Region: types.Region(p.Region), Status: statuses[p.Status], Raw: p.Raw, Height: p.Height,
		Signed: p.Signed, Bitmap: p.Bitmap, FinalAt: p.FinalAt, Previous: types.Epoch(p.Previous),
	}
	if len(h.Raw) == 0 {
		h.Raw = nil
	}
	if p.Hash != "" {
		var err error
		if h.Hash, err = types.ParseHash(p.Hash); err != nil {
			return nil, fmt.Errorf("client: header of epoch %d: %w", p.Epoch, err)
		}
	}
	return h, nil
}

func (c *Client) header(ctx context.Context, p *tallytypes.Header) (*ledger.Header, error) {
	h, err := headerOf(p)
	if err != nil {
		return nil, err
	}
	if p.Status != tallytypes.Status_STATUS_APPEALED {
		return h, nil
	}
	res, err := c.tally.Appeal(ctx, &tallytypes.QueryAppealRequest{Epoch: p.Epoch, Region: p.Region})
	if err != nil {
		if err := fault("appeal", err); errors.Is(err, ledger.ErrNotFound) {
			return h, nil // it closed between the two queries
		}
		return nil, fault(fmt.Sprintf("appeal of epoch %d", p.Epoch), err)
	}
	h.Voting = &ledger.Voting{Until: res.Appeal.Closes, Yes: res.Yes, No: res.No, Power: res.Power}
	for _, v := range res.Appeal.Votes {
		k, err := types.ParseKey(v.Key)
		if err != nil {
			return nil, fmt.Errorf("client: vote on epoch %d: %w", p.Epoch, err)
		}
		h.Voting.Voted = append(h.Voting.Voted, k)
	}
	return h, nil
}

// Headers implements ledger.Reader.
func (c *Client) Headers(ctx context.Context, region types.Region, limit int) ([]*ledger.Header, error) {
	limit = min(limit, 1000)
	if limit <= 0 {
		return nil, nil
	}
	var out []*ledger.Header
	var key []byte
	for len(out) < limit {
		res, err := c.tally.Headers(ctx, &tallytypes.QueryHeadersRequest{
			Region: uint32(region), Pagination: &query.PageRequest{Key: key, Limit: uint64(min(limit-len(out), page))},
		})
		if err != nil {
			return nil, fault(fmt.Sprintf("headers of region %d", region), err)
		}
		for i := range res.Headers {
			h, err := c.header(ctx, &res.Headers[i])
			if err != nil {
				return nil, err
			}
			out = append(out, h)
		}
		if res.Pagination == nil || len(res.Pagination.NextKey) == 0 {
			break
		}
		key = res.Pagination.NextKey
	}
	return out, nil
}

// Settlement implements ledger.Reader.
func (c *Client) Settlement(ctx context.Context, e types.Epoch) (*tally.Settlement, error) {
	res, err := c.tally.Settlement(ctx, &tallytypes.QuerySettlementRequest{Epoch: uint64(e)})
	if err != nil {
		return nil, fault(fmt.Sprintf("settlement of epoch %d", e), err)
	}
	return settlementOf(e, &res.Settlement)
}

// settlementOf returns what the chain made of an epoch.
func settlementOf(e types.Epoch, p *tallytypes.Settlement) (*tally.Settlement, error) {
	s := &tally.Settlement{
		Owed: types.Credit(p.Owed), Settled: types.Credit(p.Settled), Payout: types.Ustone(p.Payout),
	}
	for _, k := range p.Shares {
		w, err := types.ParseU128(k.Weight)
		if err != nil {
			return nil, fmt.Errorf("client: settlement of epoch %d: %w", e, err)
		}
		s.Shares = append(s.Shares, econ.Share{Category: types.Category(k.Category), Emitted: types.Ustone(k.Emitted), Weight: w})
	}
	return s, nil
}

// Devices implements ledger.Reader.
func (c *Client) Devices(ctx context.Context) ([]ledger.Device, error) {
	var out []ledger.Device
	err := c.eachDevice(ctx, func(d *devicetypes.Device) error {
		l, err := deviceOf(d)
		if err != nil {
			return err
		}
		out = append(out, *l)
		return nil
	})
	return out, err
}

// DevicesOf implements ledger.Reader.
func (c *Client) DevicesOf(ctx context.Context, owner types.Account, from []byte) (list []ledger.Device, next []byte, err error) {
	res, err := c.device.DevicesByOwner(ctx, &devicetypes.QueryDevicesByOwnerRequest{
		Owner: owner.String(), Pagination: &query.PageRequest{Key: from, Limit: page},
	})
	if err != nil {
		return nil, nil, fault("devices of "+owner.String(), err)
	}
	if res.Pagination != nil && len(res.Pagination.NextKey) > 0 {
		next = res.Pagination.NextKey
	}
	list, err = lines(res.Devices)
	return list, next, err
}

// DevicesByKey implements ledger.Reader.
func (c *Client) DevicesByKey(ctx context.Context, keys []types.Key) ([]ledger.Device, error) {
	req := new(devicetypes.QueryDevicesByKeyRequest)
	for _, k := range keys {
		req.Devices = append(req.Devices, k.String())
	}
	res, err := c.device.DevicesByKey(ctx, req)
	if err != nil {
		return nil, fault("look up devices", err)
	}
	return lines(res.Devices)
}

func lines(devices []devicetypes.Device) (list []ledger.Device, err error) {
	for i := range devices {
		l, err := deviceOf(&devices[i])
		if err != nil {
			return nil, fmt.Errorf("client: device %s: %w", devices[i].Device, err)
		}
		list = append(list, *l)
	}
	return list, nil
}

// deviceOf returns a device as the registry view has it.
func deviceOf(d *devicetypes.Device) (*ledger.Device, error) {
	owner, err := types.ParseAccount(d.Owner)
	if err != nil {
		return nil, err
	}
	l, err := d.Tally(owner)
	if err != nil {
		return nil, err
	}
	return &ledger.Device{Device: *l, Region: types.Region(d.Region)}, nil
}

// Device implements ledger.Reader.
func (c *Client) Device(ctx context.Context, key types.Key) (*ledger.Device, error) {
	res, err := c.device.Device(ctx, &devicetypes.QueryDeviceRequest{Device: key.String()})
	if err != nil {
		return nil, fault("device "+key.String(), err)
	}
	l, err := deviceOf(&res.Device)
	if err != nil {
		return nil, fmt.Errorf("client: device %v: %w", key, err)
	}
	return l, nil
}

func (c *Client) eachDevice(ctx context.Context, do func(*devicetypes.Device) error) error {
	var key []byte
	for {
		res, err := c.device.Devices(ctx, &devicetypes.QueryDevicesRequest{Pagination: &query.PageRequest{Key: key, Limit: page}})
		if err != nil {
			return fault("list devices", err)
		}
		for i := range res.Devices {
			if err := do(&res.Devices[i]); err != nil {
				return fmt.Errorf("client: device %s: %w", res.Devices[i].Device, err)
			}
		}
		if res.Pagination == nil || len(res.Pagination.NextKey) == 0 {
			return nil
		}
		key = res.Pagination.NextKey
	}
}

// Grant implements ledger.Reader.
func (c *Client) Grant(ctx context.Context, key types.Key) (*ledger.Grant, error) {
	res, err := c.credit.Grant(ctx, &credittypes.QueryGrantRequest{Key: key.String()})
	if err != nil {
		return nil, fault("grant of "+key.String(), err)
	}
	g := &ledger.Grant{Region: types.Region(res.Grant.Region)}
	g.Key, g.Limit, g.Expiry = key, types.Credit(res.Grant.Limit), types.Epoch(res.Grant.Expiry)
	if g.Account, err = types.ParseAccount(res.Grant.Account); err != nil {
		return nil, fmt.Errorf("client: grant of %v: %w", key, err)
	}
	return g, nil
}

// Verifier implements ledger.Reader.
func (c *Client) Verifier(ctx context.Context, key types.Key) (*tally.Attester, error) {
	res, err := c.tally.Verifier(ctx, &tallytypes.QueryVerifierRequest{Key: key.String()})
	if err != nil {
		return nil, fault("verifier "+key.String(), err)
	}
	a, err := res.Verifier.Attester()
	if err != nil {
		return nil, fmt.Errorf("client: verifier %v: %w", key, err)
	}
	return &a, nil
}

// Account implements ledger.Reader.
func (c *Client) Account(ctx context.Context, a types.Account) (*ledger.Account, error) {
	balance, err := c.balance(ctx, a.String())
	if err != nil {
		return nil, err
	}
	out := &ledger.Account{Account: a, Balance: balance}
	res, err := c.credit.Account(ctx, &credittypes.QueryAccountRequest{Account: a.String()})
	if err != nil {
		if err := fault("account", err); errors.Is(err, ledger.ErrNotFound) {
			return out, nil // it never bought
		}
		return nil, fault("credits of "+a.String(), err)
	}
	out.Bought = types.Credit(res.Bought)
	for _, h := range res.Holdings {
		out.Holdings = append(out.Holdings, ledger.Holding{Region: types.Region(h.Region), Bought: types.Credit(h.Bought)})
	}
	return out, nil
}

func (c *Client) balance(ctx context.Context, address string) (types.Ustone, error) {
	res, err := c.bank.Balance(ctx, &banktypes.QueryBalanceRequest{Address: address, Denom: app.Denom})
	if err != nil {
		return 0, fault("balance of "+address, err)
	}
	return ustone(res.Balance)
}

func ustone(b *sdk.Coin) (types.Ustone, error) {
	if b == nil || b.Amount.IsNil() {
		return 0, nil
	}
	if !b.Amount.IsUint64() {
		return 0, fmt.Errorf("client: an amount of %s: %w", b, types.EconRange)
	}
	return types.Ustone(b.Amount.Uint64()), nil
}

// Claimed implements ledger.Reader.
func (c *Client) Claimed(ctx context.Context, device types.Key) (types.Ustone, error) {
	res, err := c.tally.Claimed(ctx, &tallytypes.QueryClaimedRequest{Device: device.String()})
	if err != nil {
		return 0, fault("what was claimed for "+device.String(), err)
	}
	return types.Ustone(res.Amount), nil
}

// Quote implements ledger.Reader.
func (c *Client) Quote(ctx context.Context, amount types.Ustone) (types.Credit, error) {
	res, err := c.credit.Quote(ctx, &credittypes.QueryQuoteRequest{Amount: uint64(amount)})
	if err != nil {
		return 0, fault(fmt.Sprintf("quote for %d ustone", amount), err)
	}
	if r := types.Reason(res.Refusal); r != "" {
		return types.Credit(res.Credits), fmt.Errorf("client: quote for %d ustone: %w", amount, r)
	}
	return types.Credit(res.Credits), nil
}

// Verifiers returns all verifiers as they stand now, by key.
func (c *Client) Verifiers(ctx context.Context) ([]tally.Attester, error) {
	var out []tally.Attester
	var key []byte
	for {
		res, err := c.tally.Verifiers(ctx, &tallytypes.QueryVerifiersRequest{Pagination: &query.PageRequest{Key: key, Limit: page}})
		if err != nil {
			return nil, fault("list verifiers", err)
		}
		for i := range res.Verifiers {
			a, err := res.Verifiers[i].Attester()
			if err != nil {
				return nil, fmt.Errorf("client: verifier %s: %w", res.Verifiers[i].Key, err)
			}
			out = append(out, a)
		}
		if res.Pagination == nil || len(res.Pagination.NextKey) == 0 {
			break
		}
		key = res.Pagination.NextKey
	}
	slices.SortFunc(out, func(a, b tally.Attester) int { return slices.Compare(a.Key[:], b.Key[:]) })
	return out, nil
}
