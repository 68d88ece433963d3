package role

import (
	"net/http"
	"slices"

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
		{Reason: NoKey, Status: 401, Sentence: "The request has no API key that this gateway knows.", Try: "Send `Authorization: Bearer cairn_…`; `cairn account create` makes a key. One that is not granted within ten minutes is forgotten."},
		{Reason: BadRequest, Status: 400, Sentence: "The request is not what this path takes.", Try: "See /openapi.json."},
		{Reason: BadText, Status: 400, Sentence: "A name or a label is too long, is not UTF-8, or has characters that would not be seen.", Try: "Use UTF-8 without control characters and without marks that turn the direction of text, no longer than the message says."},
		{Reason: Precondition, Status: 412, Sentence: "What the request made a condition (If-Match, If-Unmodified-Since …) does not hold.", Try: "Ask for the object's ETag with HEAD; an id that is not listed any more was deleted."},
		{Reason: NotFound, Status: 404, Sentence: "There is nothing under this name.", Try: "List what there is; /openapi.json lists the paths."},
		{Reason: BadMethod, Status: 405, Sentence: "The path does not take this method.", Try: "Use a method that the Allow header names."},
		{Reason: BadMedia, Status: 415, Sentence: "The body is of a type that this path does not take.", Try: "Send it as JSON, and say so: `Content-Type: application/json`."},
		{Reason: BadHost, Status: 421, Sentence: "The request is for a host that this server does not go by.", Try: "Use its address or localhost. Its operator can name further hosts: `cairn up --host NAME`."},
		{Reason: BadOrigin, Status: 403, Sentence: "A page of another site asked for a change.", Try: "Use the page of this server, or a program."},
		{Reason: CreditPending, Status: 402, Sentence: "The account has bought credits that no tally shows yet: they count from the next epoch on.", Try: "Wait for as many seconds as the Retry-After header says."},
		{Reason: TooSlow, Status: 408, Sentence: "The request came more slowly than a server waits for: no byte for 30 seconds, or less than 8 KiB a second.", Try: "Send it again over a faster line, or in smaller objects."},
		{Reason: TooMany, Status: 429, Sentence: "This address has asked for too many API keys.", Try: "Wait for as many seconds as the Retry-After header says."},
		{Reason: Full, Status: 503, Sentence: "The gateway keeps as many API keys as it can.", Try: "Try again in a minute, or use another gateway."},
		{Reason: Busy, Status: 503, Sentence: "The server does as much of this at once as it may, for everybody or for one address.", Try: "Wait for as many seconds as the Retry-After header says."},
		{Reason: AskLapsed, Status: 503, Sentence: "The device's offer has lapsed.", Try: "Nothing: it counts again once the device renews it."},
		{Reason: NotInService, Status: 409, Sentence: "The device does not provide this category.", Try: "Choose another."},
		{Reason: PrivateAddress, Status: 502, Sentence: "The device says that it is at an address inside a private network.", Try: "The device's owner names a public address in node.yaml. A gateway in the same network lists it in its setting for private addresses."},
		{Reason: Internal, Status: 500, Sentence: "The gateway could not do what it was asked.", Try: "Try again; its log says what failed."},
	}
}

// common are the reasons that every server shares: the protocol's own and the door's.
var common = func() map[types.Reason]types.ReasonInfo {
	m := map[types.Reason]types.ReasonInfo{}
	for _, r := range slices.Concat(types.Reasons(), Reasons()) {
		m[r.Reason] = r
	}
	return m
}()

// Info returns the row of a reason: from own, the table of the category that answers, or from the common one.
// Of a reason that is in neither, nothing is known but that it is the server's own trouble: 500.
func Info(r types.Reason, own ...types.ReasonInfo) types.ReasonInfo {
	for _, info := range own {
		if info.Reason == r {
			return info
		}
	}
	if info, ok := common[r]; ok {
		return info
	}
	return types.ReasonInfo{Reason: r, Status: http.StatusInternalServerError}
}
