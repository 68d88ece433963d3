package role

import (
	"net/http"

	"github.com/cairn-network/cairn/core/types"
)

// The reasons of the customers' door, which every category's Customer shares.
const (
	NoKey        types.Reason = "gateway.no_key"
	BadRequest   types.Reason = "gateway.bad_request"
	BadText      types.Reason = "gateway.bad_text"
	Precondition types.Reason = "gateway.precondition"
	NotFound     types.Reason = "gateway.not_found"
	BadMethod    types.Reason = "gateway.bad_method"
	BadMedia     types.Reason = "gateway.bad_media"
	BadHost      types.Reason = "gateway.bad_host"
	BadOrigin    types.Reason = "gateway.bad_origin"
	// CreditPending is over_budget that ends by itself.
	CreditPending types.Reason = "gateway.credit_pending"
	TooSlow       types.Reason = "gateway.too_slow"
	TooMany       types.Reason = "gateway.too_many"
	Full          types.Reason = "gateway.full"
	Busy          types.Reason = "gateway.busy"
	AskLapsed     types.Reason = "gateway.ask_lapsed"
	NotInService  types.Reason = "gateway.not_in_service"
	// PrivateAddress is why a gateway does not connect to a device.
	PrivateAddress types.Reason = "gateway.private_address"
	Internal       types.Reason = "gateway.internal"
)

// Reasons returns the table of the door's reasons.
func Reasons() []types.ReasonInfo {
	return []types.ReasonInfo{
		{Reason: NoKey, Sentence: "The request has no API key that this gateway knows.", Try: "Send `Authorization: Bearer cairn_…`; `cairn account create` makes a key. One that is not granted within ten minutes is forgotten."},
		{Reason: BadRequest, Sentence: "The request is not what this path takes.", Try: "See /openapi.json."},
		{Reason: BadText, Sentence: "A name or a label is too long, is not UTF-8, or has characters that would not be seen.", Try: "Use UTF-8 without control characters and without marks that turn the direction of text, no longer than the message says."},
		{Reason: Precondition, Sentence: "What the request made a condition (If-Match, If-Unmodified-Since …) does not hold.", Try: "Ask for the object's ETag with HEAD; an id that is not listed any more was deleted."},
		{Reason: NotFound, Sentence: "There is nothing under this name.", Try: "List what there is; /openapi.json lists the paths."},
		{Reason: BadMethod, Sentence: "The path does not take this method.", Try: "Use a method that the Allow header names."},
		{Reason: BadMedia, Sentence: "The body is of a type that this path does not take.", Try: "Send it as JSON, and say so: `Content-Type: application/json`."},
		{Reason: BadHost, Sentence: "The request is for a host that this server does not go by.", Try: "Use its address or localhost. Its operator can name further hosts: `cairn up --host NAME`."},
		{Reason: BadOrigin, Sentence: "A page of another site asked for a change.", Try: "Use the page of this server, or a program."},
		{Reason: CreditPending, Sentence: "The account has bought credits that no tally shows yet: they count from the next epoch on.", Try: "Wait for as many seconds as the Retry-After header says."},
		{Reason: TooSlow, Sentence: "The request came more slowly than a server waits for: no byte for 30 seconds, or less than 8 KiB a second.", Try: "Send it again over a faster line, or in smaller objects."},
		{Reason: TooMany, Sentence: "This address has asked for too many API keys.", Try: "Wait for as many seconds as the Retry-After header says."},
		{Reason: Full, Sentence: "The gateway keeps as many API keys as it can.", Try: "Try again in a minute, or use another gateway."},
		{Reason: Busy, Sentence: "The server does as much of this at once as it may, for everybody or for one address.", Try: "Wait for as many seconds as the Retry-After header says."},
		{Reason: AskLapsed, Sentence: "The device's offer has lapsed.", Try: "Nothing: it counts again once the device renews it."},
		{Reason: NotInService, Sentence: "The device does not provide this category.", Try: "Choose another."},
		{Reason: PrivateAddress, Sentence: "The device says that it is at an address inside a private network.", Try: "The device's owner names a public address in node.yaml. A gateway in the same network lists it in its setting for private addresses."},
		{Reason: Internal, Sentence: "The gateway could not do what it was asked.", Try: "Try again; its log says what failed."},
	}
}

// statuses maps the door's and the protocol's own reasons to HTTP statuses (RFC 9110), as a customer meets them at a gateway: 4xx if
// another request would do better, 402 if credits or a grant are missing, 502 if a device or a verifier said something wrong, 503 if
// the same request may do later, and 500 only if nobody outside the gateway's machine can mend it.
var statuses = map[types.Reason]int{
	NoKey: http.StatusUnauthorized, BadRequest: http.StatusBadRequest, BadText: http.StatusBadRequest, Precondition: http.StatusPreconditionFailed, NotFound: http.StatusNotFound,
	BadMethod: http.StatusMethodNotAllowed, BadMedia: http.StatusUnsupportedMediaType, BadHost: http.StatusMisdirectedRequest, BadOrigin: http.StatusForbidden,
	CreditPending: http.StatusPaymentRequired, TooSlow: http.StatusRequestTimeout, TooMany: http.StatusTooManyRequests, Full: http.StatusServiceUnavailable, Busy: http.StatusServiceUnavailable,
	AskLapsed: http.StatusServiceUnavailable, NotInService: http.StatusConflict, PrivateAddress: http.StatusBadGateway, Internal: http.StatusInternalServerError,

	types.Oversize: http.StatusRequestEntityTooLarge, types.UnknownField: http.StatusBadRequest, types.BadEncoding: http.StatusBadRequest,
	types.WrongChain: http.StatusBadRequest, types.WrongEpoch: http.StatusConflict, types.WrongRegion: http.StatusConflict,
	types.BadAnchor: http.StatusBadGateway, types.BadSignature: http.StatusBadRequest, types.UnknownAuthor: http.StatusNotFound,
	types.UnknownCategory: http.StatusNotFound, types.UnknownKind: http.StatusBadRequest, types.UnknownClass: http.StatusNotFound,
	types.StaleSeq: http.StatusBadGateway, types.Equivocation: http.StatusBadGateway, types.OverQuota: http.StatusTooManyRequests,
	types.Suspended: http.StatusConflict, types.UnknownAsk: http.StatusConflict, types.UnknownKey: http.StatusPaymentRequired,
	types.KeyExpired: http.StatusPaymentRequired, types.SessionExpired: http.StatusConflict, types.SessionOpening: http.StatusPaymentRequired,
	types.SessionMismatch: http.StatusConflict, types.SessionClosed: http.StatusConflict, types.FallingTotals: http.StatusConflict,
	types.OverPrice: http.StatusBadRequest, types.OverBudget: http.StatusPaymentRequired, types.OverLimit: http.StatusPaymentRequired,
	types.OrderLimit: http.StatusConflict, types.Superseded: http.StatusConflict, types.NotFinal: http.StatusConflict,
	types.PricePaused: http.StatusServiceUnavailable, types.Slippage: http.StatusConflict, types.BuyWindow: http.StatusTooManyRequests,
	types.BondLow: http.StatusConflict, types.BondExhausted: http.StatusConflict, types.ParamBound: http.StatusBadRequest,
	types.ParamStep: http.StatusBadRequest, types.ParamWash: http.StatusBadRequest, types.ParamTimelock: http.StatusConflict, types.ParamPending: http.StatusConflict,
	types.RegionSkipped: http.StatusServiceUnavailable, types.EconRange: http.StatusInternalServerError, types.BadClaim: http.StatusBadRequest,
	types.AlreadyClaimed: http.StatusConflict, types.BusUnavailable: http.StatusServiceUnavailable, types.NotPermitted: http.StatusForbidden,
	types.UnknownBlob: http.StatusNotFound, types.PortInUse: http.StatusInternalServerError, types.HomeUnwritable: http.StatusInternalServerError,
	types.HomeBusy: http.StatusInternalServerError, types.HomeFormat: http.StatusInternalServerError, types.HomeChanged: http.StatusInternalServerError, types.DiskFull: http.StatusInsufficientStorage, types.InsufficientFund: http.StatusPaymentRequired,
	types.FeeLow: http.StatusPaymentRequired, types.MempoolFull: http.StatusServiceUnavailable, types.TooManyChanges: http.StatusTooManyRequests,
	types.ClockOff: http.StatusInternalServerError, types.TooFew: http.StatusServiceUnavailable, types.HomeDamaged: http.StatusInternalServerError,
	types.BadArgument: http.StatusBadRequest, types.NotFound: http.StatusNotFound, types.NotRunning: http.StatusServiceUnavailable,

	types.DeviceKnown: http.StatusConflict, types.NotOwner: http.StatusForbidden, types.StatementExpired: http.StatusConflict,
	types.KeyTaken: http.StatusConflict, types.UnknownVerifier: http.StatusBadGateway, types.HeaderRound: http.StatusConflict,
	types.HeaderKnown: http.StatusConflict, types.HeaderLeader: http.StatusBadGateway, types.HeaderLink: http.StatusBadGateway,
	types.HeaderTotals: http.StatusBadGateway, types.LowPower: http.StatusServiceUnavailable, types.AppealClosed: http.StatusConflict,
	types.AppealKnown: http.StatusConflict, types.NoMisconduct: http.StatusBadRequest, types.Mismatch: http.StatusBadGateway, types.NotProven: http.StatusBadGateway,
	types.UnknownModel: http.StatusNotFound,

	types.UnknownCertificate: http.StatusNotFound, types.CertificateNotFinal: http.StatusConflict, types.CertificateLapsed: http.StatusConflict,
	types.CertificateProof: http.StatusBadRequest, types.CertificateLots: http.StatusBadRequest, types.CertificateBelowMark: http.StatusConflict,
	types.CertificateRange: http.StatusBadRequest, types.CertificateHour: http.StatusBadRequest, types.CertificateRetired: http.StatusConflict,
	types.CertificateExpired: http.StatusConflict, types.CertificateSale: http.StatusConflict,
}

// Status returns the HTTP status of a reason at a gateway: from own, a category's table, or from the common one. It is 500 for what has
// none.
func Status(r types.Reason, own map[types.Reason]int) int {
	if s, ok := own[r]; ok {
		return s
	}
	if s, ok := statuses[r]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Coded is a Customer whose category has reasons of its own: each has an HTTP status.
type Coded interface {
	Statuses() map[types.Reason]int
}
