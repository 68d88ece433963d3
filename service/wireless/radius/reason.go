package radius

import "github.com/cairn-network/cairn/core/types"

// The reasons with which packets are refused.
const (
	Unsigned    types.Reason = "wireless.radius_unsigned"
	Secret      types.Reason = "wireless.radius_secret"
	Rewind      types.Reason = "wireless.acct_rewind"
	Unreachable types.Reason = "wireless.idp_unreachable"
	Refused     types.Reason = "wireless.idp_refused"
)
