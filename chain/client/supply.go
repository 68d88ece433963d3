package client

import (
	"context"
	"fmt"

	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cairn-network/cairn/chain/app"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Supply implements ledger.Reader. All of it is as of one block. It reads every device, to hold their bonds
// against the account.
func (c *Client) Supply(ctx context.Context) (*ledger.Supply, error) {
	h, err := c.height(ctx)
	if err != nil {
		return nil, err
	}
	ctx = at(ctx, h)
	out := new(ledger.Supply)
	check := func(ok bool, format string, args ...any) {
		if !ok {
			out.Faults = append(out.Faults, fmt.Sprintf(format, args...))
		}
	}
	if err := c.money(ctx, out, check); err != nil {
		return nil, err
	}
	if err := c.escrow(ctx, out, check); err != nil {
		return nil, err
	}
	bonds, err := c.balance(ctx, authtypes.NewModuleAddress(devicetypes.ModuleName).String())
	if err != nil {
		return nil, err
	}
	if err := c.eachDevice(ctx, func(d *devicetypes.Device) error {
		out.Bonds += types.Ustone(d.Bond)
		return nil
	}); err != nil {
		return nil, err
	}
	check(bonds == out.Bonds, "devices' bonds are %d, the account holds %d", out.Bonds, bonds)
	out.Balanced = len(out.Faults) == 0
	return out, nil
}

// money fills in what the bank and x/credit know.
func (c *Client) money(ctx context.Context, out *ledger.Supply, check func(bool, string, ...any)) error {
	supply, err := c.credit.Supply(ctx, &credittypes.QuerySupplyRequest{})
	if err != nil {
		return fault("supply", err)
	}
	vault, err := c.credit.Vault(ctx, &credittypes.QueryVaultRequest{})
	if err != nil {
		return fault("vault", err)
	}
	held, err := c.balance(ctx, authtypes.NewModuleAddress(credittypes.ModuleName).String())
	if err != nil {
		return err
	}
	total, err := c.bank.SupplyOf(ctx, &banktypes.QuerySupplyOfRequest{Denom: app.Denom})
	if err != nil {
		return fault("the bank's supply", err)
	}
	if out.Supply, err = ustone(&total.Amount); err != nil {
		return err
	}
	out.Genesis, out.Minted, out.Burned = types.Ustone(supply.Genesis), types.Ustone(supply.Minted), types.Ustone(supply.Burned)
	out.Vault, out.Bought = types.Ustone(vault.Vault.Stone), types.Credit(vault.Vault.Bought)
	check(out.Genesis+out.Minted-out.Burned == out.Supply, "genesis + minted - burned is %d, the bank holds %d",
		out.Genesis+out.Minted-out.Burned, out.Supply)
	check(held == out.Vault, "the vault is %d, the account holds %d", out.Vault, held)
	check(vault.Vault.Settled <= vault.Vault.Bought, "settled %d of %d credits", vault.Vault.Settled, vault.Vault.Bought)
	return nil
}

// escrow fills in what x/tally knows.
func (c *Client) escrow(ctx context.Context, out *ledger.Supply, check func(bool, string, ...any)) error {
	res, err := c.tally.Ledgers(ctx, &tallytypes.QueryLedgersRequest{})
	if err != nil {
		return fault("escrow", err)
	}
	check(res.Balance == res.Expected, "escrow should be %d, the account holds %d", res.Expected, res.Balance)
	out.Escrow = types.Ustone(res.Balance - min(res.Balance, res.Bonds))
	for _, l := range res.Ledgers {
		out.Claimed += types.Ustone(l.Claimed)
		out.Amount += types.Ustone(l.Amount)
		check(l.Claimed <= l.Amount && l.Amount <= l.Allotted, "region %d: claimed %d, final amounts %d, allotted %d",
			l.Region, l.Claimed, l.Amount, l.Allotted)
		next, err := c.tally.Next(ctx, &tallytypes.QueryNextRequest{Region: l.Region})
		if err != nil {
			return fault(fmt.Sprintf("last header of region %d", l.Region), err)
		}
		if next.PreviousEpoch == 0 {
			continue
		}
		last, err := c.tally.Header(ctx, &tallytypes.QueryHeaderRequest{Region: l.Region, Epoch: next.PreviousEpoch})
		if err != nil {
			return fault(fmt.Sprintf("header of epoch %d, region %d", next.PreviousEpoch, l.Region), err)
		}
		head, err := tally.DecodeHeader(last.Header.Raw)
		if err != nil {
			return fmt.Errorf("client: header of epoch %d, region %d: %w", next.PreviousEpoch, l.Region, err)
		}
		out.Spent += head.Totals.Spent
		var paid types.Credit
		for _, k := range head.Totals.Categories {
			paid += k.Paid
		}
		check(paid == head.Totals.Spent, "epoch %d, region %d: paid %d, spent %d", next.PreviousEpoch, l.Region, paid, head.Totals.Spent)
	}
	check(out.Spent <= out.Bought, "spent %d credits, bought %d", out.Spent, out.Bought)
	return nil
}
