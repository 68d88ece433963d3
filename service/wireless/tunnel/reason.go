package tunnel

import "github.com/cairn-network/cairn/core/types"

// Why a device relays no more, or not there.
const (
	DestDenied   types.Reason = "wireless.dest_denied"
	UnpaidLimit  types.Reason = "wireless.unpaid_limit"
	CountDispute types.Reason = "wireless.count_dispute"
	Overpriced   types.Reason = "wireless.overpriced"
	TermsUnknown types.Reason = "wireless.terms_unknown"
)
