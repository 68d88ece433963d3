package gateway

import (
	"net/http"

	"github.com/cairn-network/cairn/core/types"
)

// The gateway's own reasons.
const (
	NoKey      types.Reason = "gateway.no_key"
	BadRequest types.Reason = "gateway.bad_request"
	NotFound   types.Reason = "gateway.not_found"
	Internal   types.Reason = "gateway.internal"
)

// Reasons returns the table of the gateway's own reasons.
func Reasons() []types.ReasonInfo {
	return []types.ReasonInfo{
		{Reason: NoKey, Sentence: "The request has no API key that this gateway knows.", Try: "Send `Authorization: Bearer cairn_…`; `cairn account create` makes a key."},
		{Reason: BadRequest, Sentence: "The request is not what this path takes.", Try: "See /openapi.json."},
		{Reason: NotFound, Sentence: "There is nothing under this name.", Try: "List what there is."},
		{Reason: AskLapsed, Sentence: "The device's offer has lapsed.", Try: "Nothing: it counts again once the device renews it."},
		{Reason: NotInService, Sentence: "The device does not provide this category.", Try: "Choose another."},
		{Reason: Internal, Sentence: "The gateway could not do what it was asked.", Try: "Try again; its log says what failed."},
	}
}

// status maps a reason to its HTTP status (RFC 9110).
func status(r types.Reason) int {
	switch r {
	case NoKey:
		return http.StatusUnauthorized
	case BadRequest, types.BadEncoding, types.UnknownField, types.WrongChain:
		return http.StatusBadRequest
	case NotFound:
		return http.StatusNotFound
	case types.Oversize:
		return http.StatusRequestEntityTooLarge
	case types.OverQuota:
		return http.StatusTooManyRequests
	case types.OverBudget, types.OverLimit, types.InsufficientFund, types.KeyExpired, types.UnknownKey:
		return http.StatusPaymentRequired
	case types.BusUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
