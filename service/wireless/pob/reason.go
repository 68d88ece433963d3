package pob

import "github.com/cairn-network/cairn/core/types"

// Why a report is refused, or counts nothing.
const (
	NotDrawn    types.Reason = "wireless.pob_not_drawn"
	BadStart    types.Reason = "wireless.pob_bad_start"
	Related     types.Reason = "wireless.pob_related"
	Late        types.Reason = "wireless.pob_late"
	NoReply     types.Reason = "wireless.pob_no_reply"
	BadReply    types.Reason = "wireless.pob_bad_reply"
	TagMismatch types.Reason = "wireless.pob_tag_mismatch"
	OtherPrefix types.Reason = "wireless.pob_prefix"
	Duplicate   types.Reason = "wireless.pob_duplicate"
	Void        types.Reason = "wireless.pob_void"
)

// Reasons are those, with their HTTP status and what to do about each.
func Reasons() []types.ReasonInfo {
	var out []types.ReasonInfo
	for _, r := range [...]struct {
		reason       types.Reason
		sentence, do string
	}{
		{NotDrawn, "The prefix, or the challenger, was not drawn for a bandwidth check of this epoch.", "Nothing: only drawn challengers report, and only in drawn epochs."},
		{BadStart, "The start of the bandwidth check is not proven by the prefix's conductor, or it is not the time for it.", "Set the clock, best by NTP; upgrade the older side."},
		{Related, "The challenger is in the network (/16, or /32 of IPv6) of the device or of a challenger drawn before it: it counts nothing.", "Run verifiers in networks of different providers."},
		{Late, "The device's answer came after the end of the check: it counts nothing.", "See that the line's uplink is free, and its router does not queue for long."},
		{NoReply, "The device did not answer the challenger: it counts nothing.", "See that UDP leaves the device, and that it runs."},
		{BadReply, "The device's answer is not signed by it, or is not to this challenger and check: it counts nothing.", "Upgrade the older side."},
		{TagMismatch, "The tags that the device hashed are not those that the challenger sent: it counts nothing.", "If it was one challenger, nothing: two of eight may fail. Else look for what changes packets on the way."},
		{OtherPrefix, "The device was in another network than it handed in: it counts nothing.", "Nothing: the device hands in its new prefix with its next endpoint, and is tested there."},
		{Duplicate, "The challenger has reported this check before.", "Nothing: its first report counts."},
		{Void, "Too few challengers reported the check: it proves nothing.", "Nothing: a later one counts."},
	} {
		out = append(out, types.ReasonInfo{Reason: r.reason, Status: 409, Sentence: r.sentence, Try: r.do})
	}
	return out
}
