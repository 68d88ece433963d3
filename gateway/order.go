package gateway

import (
	"context"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Order implements role.Market.
func (v *view) Order(context.Context, *receipt.SignedOrder) error {
	return types.Refuse(types.BusUnavailable, "gateway: orders are not handed in yet")
}

// OrderState implements role.Market.
func (v *view) OrderState(context.Context, tally.SessionKey) (role.OrderState, error) {
	return role.OrderState{}, types.Refuse(types.BusUnavailable, "gateway: orders are not handed in yet")
}

// Outputs implements role.Market.
func (v *view) Outputs(context.Context, types.Epoch, []byte) ([]role.Output, error) {
	return nil, types.Refuse(types.BusUnavailable, "gateway: outputs are not fetched yet")
}
