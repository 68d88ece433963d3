package client

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	"github.com/cairn-network/cairn/chain/refusal"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// byCode finds a reason by its number in results, where the log does not end in its name.
var byCode = func() map[uint32]types.Reason {
	m := map[uint32]types.Reason{}
	for _, info := range types.Reasons() {
		m[refusal.Code(info.Reason)] = info.Reason
	}
	return m
}()

// refused returns the error of a transaction that the chain refused: with the chain's coded reason, if it gave one.
func refused(what, codespace string, code uint32, log string) error {
	switch {
	case codespace == refusal.Codespace && byCode[code] != "":
		return fmt.Errorf("client: %s: %s: %w", what, log, byCode[code])
	case codespace == sdkerrors.RootCodespace && code == sdkerrors.ErrInsufficientFunds.ABCICode():
		return fmt.Errorf("client: %s: %s: %w", what, log, types.InsufficientFund)
	case codespace == sdkerrors.RootCodespace && code == sdkerrors.ErrInsufficientFee.ABCICode():
		return fmt.Errorf("client: %s: %s: %w", what, log, types.FeeLow)
	}
	if r := refusal.Parse(log); r != "" {
		return fmt.Errorf("client: %s: %s: %w", what, log, r)
	}
	return fmt.Errorf("client: %s: %s (%s %d)", what, log, codespace, code)
}

// stale reports whether the chain expected another sequence of the account.
func stale(codespace string, code uint32) bool {
	return codespace == sdkerrors.RootCodespace && code == sdkerrors.ErrWrongSequence.ABCICode()
}

// fault returns the error of a query.
func fault(what string, err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("client: %s: %w", what, err)
	}
	r := refusal.Parse(s.Message())
	switch {
	case s.Code() == codes.NotFound, r == types.UnknownKey, r == types.UnknownAuthor:
		return fmt.Errorf("client: %s: %s: %w", what, s.Message(), ledger.ErrNotFound)
	case r != "":
		return fmt.Errorf("client: %s: %s: %w", what, s.Message(), r)
	case strings.Contains(s.Message(), unborn):
		return types.Refuse(types.ChainUnavailable, "client: %s: the node has no block yet: it waits for other validators, or for the time of its genesis", what)
	}
	return fmt.Errorf("client: %s: %w", what, err)
}

// unborn is in what a node of the SDK answers before its first block (baseapp, CreateQueryContext).
const unborn = "please wait for first block"
