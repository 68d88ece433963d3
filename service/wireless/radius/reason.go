package radius

import "github.com/cairn-network/cairn/core/types"

// The reasons with which packets are refused, and users.
const (
	Unsigned    types.Reason = "wireless.radius_unsigned"
	Secret      types.Reason = "wireless.radius_secret"
	Rewind      types.Reason = "wireless.acct_rewind"
	Unreachable types.Reason = "wireless.idp_unreachable"
	Refused     types.Reason = "wireless.idp_refused"

	RealmUnknown    types.Reason = "wireless.realm_unknown"
	PriceAboveRoute types.Reason = "wireless.price_above_route"
	AskExpired      types.Reason = "wireless.ask_expired"
	UnpaidLimit     types.Reason = "wireless.unpaid_limit"
	CountDispute    types.Reason = "wireless.count_dispute"
	Overpriced      types.Reason = "wireless.overpriced"
)
