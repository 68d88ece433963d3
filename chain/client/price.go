package client

import (
	"context"
	"fmt"
	"time"

	"cosmossdk.io/math"
	nodeservice "github.com/cosmos/cosmos-sdk/client/grpc/node"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/types"
)

const (
	// maxGasPrice is the most that is offered because a node asks for it, in ustone for 10⁶ gas: twenty times
	// the default. Whoever wants to pay more says so (Config.GasPrice).
	maxGasPrice = 20 * app.MinGasPrice
	// priceAge is how long a node's answer counts.
	priceAge = time.Minute
)

// price is what a node asks for gas.
type price struct {
	least types.Ustone // for 10⁶ gas
	asked time.Time
}

// GasPrice returns what is offered for 10⁶ gas: the node's minimum, or what Config says if that is more.
func (c *Client) GasPrice(ctx context.Context) (types.Ustone, error) {
	c.mu.Lock()
	p := c.price
	c.mu.Unlock()
	if time.Since(p.asked) > priceAge {
		p = price{asked: time.Now()}
		res, err := nodeservice.NewServiceClient(c.ctx).Config(ctx, &nodeservice.ConfigRequest{})
		if err != nil { // it has none to tell
			return c.cfg.GasPrice, nil
		}
		least, err := sdk.ParseDecCoins(res.MinimumGasPrice)
		if err != nil {
			return 0, fmt.Errorf("client: the node's minimum gas price, %.80q: %w", res.MinimumGasPrice, err)
		}
		million := least.AmountOf(app.Denom).MulInt64(1_000_000).Ceil().TruncateInt()
		if limit := max(maxGasPrice, c.cfg.GasPrice); million.GT(math.NewIntFromUint64(uint64(limit))) {
			return 0, types.Refuse(types.FeeLow, "client: the node asks for %s ustone for a million gas, at most %d are offered", million, limit)
		}
		p.least = types.Ustone(million.Uint64())
		c.mu.Lock()
		c.price = p
		c.mu.Unlock()
	}
	return max(c.cfg.GasPrice, p.least), nil
}

// fee is what this client offers for gas.
func (c *Client) fee(ctx context.Context, gas uint64) (types.Ustone, error) {
	p, err := c.GasPrice(ctx)
	return types.Ustone((uint64(p)*gas + 999_999) / 1_000_000), err
}

// forgetPrice has the node asked again.
func (c *Client) forgetPrice() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.price = price{}
}
