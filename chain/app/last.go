package app

import (
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	sdk "github.com/cosmos/cosmos-sdk/types"
)

// checked returns the context in which a transaction is checked or tried out. Until the first block after a
// restart (or after joining by a snapshot) the SDK's has an empty header, as if before the first block ever: no
// gas is counted, so that CometBFT drops what was answered with code 0; and signatures are checked as if every
// account had the number 0, so that others' are refused. The last block takes its place, as it does after each
// later one.
func (a *App) checked(ctx sdk.Context) sdk.Context {
	height := a.LastBlockHeight()
	if ctx.BlockHeight() != 0 || height == 0 {
		return ctx
	}
	header := ctx.BlockHeader()
	header.Height = height
	if stores, ok := a.CommitMultiStore().(*rootmulti.Store); ok {
		if info, err := stores.GetCommitInfo(height); err == nil {
			header.Time = info.Timestamp
		}
	}
	info := ctx.HeaderInfo()
	info.Height, info.Time = header.Height, header.Time
	return ctx.WithBlockHeader(header).WithHeaderInfo(info)
}
