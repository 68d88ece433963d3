package gateway

import (
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// The gateway's own reasons, which categories share.
const (
	NoKey      = role.NoKey
	BadRequest = role.BadRequest
	BadText    = role.BadText
	NotFound   = role.NotFound
	TooMany    = role.TooMany
	Full       = role.Full
	AskLapsed  = role.AskLapsed
	Internal   = role.Internal
)

// Reasons returns the table of the gateway's own reasons.
func Reasons() []types.ReasonInfo { return role.Reasons() }
