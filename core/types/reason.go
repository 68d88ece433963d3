package types

import (
	"errors"
	"fmt"
)

// Reason is the stable name of a refusal: `category.reason`, or bare for the protocol's own. It is an error, so
// that errors.Is finds it through any wrapping, and it is what tallies record and pages show. What each one
// means and what to do about it stands in a table (ReasonInfo), from which docs/spec/reasons.md is generated.
type Reason string

// Error returns the reason's name.
func (r Reason) Error() string { return string(r) }

// ReasonOf returns the reason that err carries, or "" if it carries none.
func ReasonOf(err error) Reason {
	var r Reason
	if errors.As(err, &r) {
		return r
	}
	return ""
}

// Refuse returns an error that carries reason r and says the particulars.
func Refuse(r Reason, format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), r)
}

// ReasonInfo is a row of the table of reasons.
type ReasonInfo struct {
	Reason Reason
	// Status is the HTTP status (RFC 9110) with which a gateway refuses for it: 4xx if another request would do
	// better, 402 if credits or a grant are missing, 502 if a device or a verifier said something wrong, 503 if
	// the same request may do later, and 500 only if nobody outside the gateway's machine can mend it.
	Status   int
	Sentence string // what happened
	Try      string // what the reader can do about it
}

// The protocol's own reasons.
const (
	Oversize         Reason = "oversize"
	UnknownField     Reason = "unknown_field"
	BadEncoding      Reason = "bad_encoding"
	WrongChain       Reason = "wrong_chain"
	WrongEpoch       Reason = "wrong_epoch"
	WrongRegion      Reason = "wrong_region"
	BadAnchor        Reason = "bad_anchor"
	BadSignature     Reason = "bad_signature"
	UnknownAuthor    Reason = "unknown_author"
	UnknownCategory  Reason = "unknown_category"
	UnknownKind      Reason = "unknown_kind"
	UnknownClass     Reason = "unknown_class"
	StaleSeq         Reason = "stale_seq"
	Equivocation     Reason = "equivocation"
	OverQuota        Reason = "over_quota"
	Suspended        Reason = "suspended"
	UnknownAsk       Reason = "unknown_ask"
	UnknownKey       Reason = "unknown_key"
	KeyExpired       Reason = "key_expired"
	SessionExpired   Reason = "session_expired"
	SessionOpening   Reason = "session_opening"
	SessionMismatch  Reason = "session_mismatch"
	SessionClosed    Reason = "session_closed"
	FallingTotals    Reason = "falling_totals"
	OverPrice        Reason = "over_price"
	OverBudget       Reason = "over_budget"
	OverLimit        Reason = "over_limit"
	OrderLimit       Reason = "order_limit"
	Superseded       Reason = "superseded"
	NotFinal         Reason = "not_final"
	PricePaused      Reason = "price_paused"
	Slippage         Reason = "slippage"
	BuyWindow        Reason = "buy_window"
	BondLow          Reason = "bond_low"
	BondExhausted    Reason = "bond_exhausted"
	ParamBound       Reason = "param_bound"
	ParamStep        Reason = "param_step"
	ParamWash        Reason = "param_wash"
	ParamTimelock    Reason = "param_timelock"
	ParamPending     Reason = "param_pending"
	RegionSkipped    Reason = "region_skipped"
	EconRange        Reason = "econ_range"
	BadClaim         Reason = "bad_claim"
	AlreadyClaimed   Reason = "already_claimed"
	BusUnavailable   Reason = "bus_unavailable"
	NotPermitted     Reason = "not_permitted"
	UnknownBlob      Reason = "unknown_blob"
	DeviceAway       Reason = "device_away"
	DeviceLate       Reason = "device_late"
	DeviceBusy       Reason = "device_busy"
	DeviceFailed     Reason = "device_failed"
	BadAnswer        Reason = "bad_answer"
	StaleRequest     Reason = "stale_request"
	AskedBefore      Reason = "asked_before"
	UnknownRequest   Reason = "unknown_request"
	PortInUse        Reason = "port_in_use"
	HomeUnwritable   Reason = "home_unwritable"
	HomeBusy         Reason = "home_busy"
	HomeFormat       Reason = "home_format"
	HomeChanged      Reason = "home_changed"
	DiskFull         Reason = "disk_full"
	ClockOff         Reason = "clock_off"
	TooFew           Reason = "too_few"
	HomeDamaged      Reason = "home_damaged"
	ChainStalled     Reason = "chain_stalled"
	BadArgument      Reason = "bad_argument"
	NotFound         Reason = "not_found"
	NotRunning       Reason = "not_running"
	InsufficientFund Reason = "insufficient_funds"
	FeeLow           Reason = "fee_low"
	MempoolFull      Reason = "mempool_full"
	TooManyChanges   Reason = "too_many_changes"
	ChainUnavailable Reason = "chain_unavailable"
	BadManifest      Reason = "bad_manifest"
	OtherSigner      Reason = "other_signer"
	StaleManifest    Reason = "stale_manifest"

	DeviceKnown      Reason = "device_known"
	NotOwner         Reason = "not_owner"
	StatementExpired Reason = "statement_expired"
	KeyTaken         Reason = "key_taken"
	UnknownVerifier  Reason = "unknown_verifier"
	HeaderRound      Reason = "header_round"
	HeaderKnown      Reason = "header_known"
	HeaderLeader     Reason = "header_leader"
	HeaderLink       Reason = "header_link"
	HeaderTotals     Reason = "header_totals"
	LowPower         Reason = "low_power"
	AppealClosed     Reason = "appeal_closed"
	AppealKnown      Reason = "appeal_known"
	NoMisconduct     Reason = "no_misconduct"
	Mismatch         Reason = "mismatch"
	NotProven        Reason = "not_proven"
	UnknownModel     Reason = "unknown_model"
	NoFleet          Reason = "no_fleet"
	NotInFleet       Reason = "not_in_fleet"
	NoConsent        Reason = "no_consent"
	ConsentEnded     Reason = "consent_ended"
	ThingTwice       Reason = "thing_twice"

	UnknownCertificate   Reason = "certificate_unknown"
	CertificateNotFinal  Reason = "certificate_not_final"
	CertificateLapsed    Reason = "certificate_lapsed"
	CertificateProof     Reason = "certificate_proof"
	CertificateLots      Reason = "certificate_lots"
	CertificateBelowMark Reason = "certificate_below_mark"
	CertificateSale      Reason = "certificate_sale"
	CertificateRange     Reason = "certificate_range"
	CertificateHour      Reason = "certificate_hour"
	CertificateRetired   Reason = "certificate_retired"
	CertificateExpired   Reason = "certificate_expired"
)

// Reasons returns the table of the protocol's own reasons, in the order of the docs.
func Reasons() []ReasonInfo {
	return []ReasonInfo{
		{Oversize, 413, "The message is longer than its kind may be.", "Send larger things by their hash."},
		{UnknownField, 400, "The message has a field that this version of the protocol does not know.", "Upgrade the older side."},
		{BadEncoding, 400, "The bytes are not the one deterministic CBOR encoding of a message.", "Encode as RFC 8949 §4.2.1 says: shortest forms, sorted keys, definite lengths, no trailing bytes."},
		{WrongChain, 400, "The message was signed for another chain.", "Check the chain id that the device was onboarded with."},
		{WrongEpoch, 409, "The message belongs to an epoch that is not taken any more, or not yet.", "Check the clock of the sender and its connection to the bus; send within the epoch."},
		{WrongRegion, 409, "The device, session key or order is of another region.", "Use a gateway of its region, or a key and credits of this one: GET /v1/status names the gateway's region."},
		{BadAnchor, 502, "The block that the message names is unknown or more than 100 blocks old.", "Anchor to the newest block of an epoch notice."},
		{BadSignature, 400, "The signature does not fit the message and its author.", "Sign with the key that is registered."},
		{UnknownAuthor, 404, "The author is not in the registry as of the epoch's start.", "Register the device, or wait for the next epoch."},
		{UnknownCategory, 404, "The device is not registered for this category.", "Register it for the category that it provides."},
		{UnknownKind, 400, "The category knows no evidence of this kind.", "Upgrade the older side."},
		{UnknownClass, 404, "The category has no class of this number.", "Upgrade the older side."},
		{StaleSeq, 502, "The author already sent a higher or the same sequence number.", "Never reuse a number; keep it on disk before sending."},
		{Equivocation, 502, "The author signed two different messages with one sequence number.", "Run one copy of a device's key only."},
		{OverQuota, 429, "The author sent more in this epoch than its category allows, or more at a time than the bus takes of one account.", "Put more into one message, or wait for the next epoch."},
		{Suspended, 409, "The device is suspended.", "Read the suspension's evidence; it ends by itself."},
		{UnknownAsk, 409, "The receipt names an ask that nobody handed in.", "Hand in the signed ask with the first receipt."},
		{UnknownKey, 402, "No account granted the payer's key.", "Grant the session key on chain first."},
		{KeyExpired, 402, "The grant of the payer's key has expired.", "Grant a new session key."},
		{SessionExpired, 409, "The session has expired.", "Open a new session."},
		{SessionOpening, 402, "The session's first receipt is below the least that opens a session.", "Open with at least the least amount, or with an opening that both sides signed."},
		{SessionMismatch, 409, "The session belongs to another device, category or ask.", "Use a session for one device and one ask."},
		{SessionClosed, 409, "The session has been closed.", "Open a new session."},
		{FallingTotals, 409, "Units or amount are below what the session already counted.", "Totals are cumulative and never fall."},
		{OverPrice, 400, "The amount is above units times the ask's price.", "Sign amounts of at most units · price / scale, rounded down."},
		{OverBudget, 402, "The account has too few credits left.", "Buy credits; the unpaid part can be handed in again."},
		{OverLimit, 402, "The session key has spent its limit.", "Grant a higher limit; the unpaid part can be handed in again."},
		{OrderLimit, 409, "The account has as many live orders as it may have, or as many that are remembered.", "Cancel an order first, or wait 26 epochs until cancelled ones are forgotten."},
		{Superseded, 409, "A receipt of the same session that says as much or more counted instead.", "Nothing: receipts are cumulative."},
		{NotFinal, 409, "The header is not final yet.", "Claim after the appeal window."},
		{PricePaused, 503, "The price feed is stale or deviates.", "Buy later; spending goes on."},
		{Slippage, 409, "The purchase would give fewer credits than the least that was asked for.", "Ask for less, or buy later."},
		{BuyWindow, 429, "The day's limit of purchases is used up.", "Buy the rest tomorrow."},
		{BondLow, 409, "The bond is below half of what the device's category requires.", "Add to the bond; paid work continues meanwhile."},
		{BondExhausted, 409, "Proven misconduct has consumed the bond.", "Add to the bond to earn again."},
		{ParamBound, 400, "The parameter is outside its bounds.", "See the table of parameters."},
		{ParamStep, 400, "The parameter may move by a tenth per 720 epochs.", "Propose a smaller step."},
		{ParamWash, 400, "The split would let a customer who pays itself break even.", "Keep supplier, verifiers, treasury and bonus at 9,800 or below."},
		{ParamTimelock, 409, "The parameter was changed too recently.", "Wait for the lock to end."},
		{ParamPending, 409, "Another change of parameters waits for its time.", "Wait until it holds, or withdraw it first: decide the parameters that are in force."},
		{RegionSkipped, 503, "The region had no accepted header in this epoch.", "Nothing: receipts count in the next."},
		{EconRange, 500, "A computation would leave the range of its type.", "Report it: the item was skipped, the chain runs on."},
		{BadClaim, 400, "The leaf and its siblings do not lead to the header's devices root.", "Fetch the proof anew from a verifier."},
		{AlreadyClaimed, 409, "Everything that the leaf shows has been claimed.", "Nothing to do."},
		{BusUnavailable, 503, "The message bus cannot be reached.", "Messages are kept on disk and sent when it is back."},
		{NotPermitted, 403, "The key may not do this on the message bus.", "Register the key; publish under its own subjects only."},
		{UnknownBlob, 404, "Nobody who can be reached holds bytes of this hash.", "Ask again later; old batches are kept for the appeal window and a week."},
		{DeviceAway, 503, "The device is not on the message bus, or takes no requests.", "Choose another device, or ask again later."},
		{DeviceLate, 503, "The device did not answer in time.", "Choose another device, or ask again; one that asks anew may find that the first request was done."},
		{DeviceBusy, 503, "The device takes no more requests at the moment, or none more of this asker.", "Choose another device, or ask again in a while."},
		{DeviceFailed, 502, "The device could not do what was asked, and says no more.", "Choose another device; its log has the error."},
		{BadAnswer, 502, "What came for an answer is not signed by the device, or is to another request.", "Choose another device."},
		{StaleRequest, 409, "The request's time is more than half a minute from the device's, or from before it began to serve.", "Set the clocks of both, best by NTP, and ask anew."},
		{AskedBefore, 409, "The device has served this request before, and does not have the answer any more.", "Ask anew, with another id."},
		{UnknownRequest, 404, "The device serves no requests of this kind.", "Upgrade the older side."},
		{PortInUse, 500, "Another program listens on the port.", "Stop it, or choose another port."},
		{HomeUnwritable, 500, "The home directory cannot be written.", "Choose another with --home, or mend its permissions."},
		{HomeBusy, 500, "Another process runs in this home directory.", "Stop it first (a network of `cairn up`: `make down`)."},
		{HomeChanged, 500, "A file or folder of the home was removed or replaced: while a program uses it, what is written to it now is lost when that stops; or a device starts without the folder that it used.", "Put it back from where it went or from a backup, mount its disk, and start the program anew; keep a copy of device.key."},
		{HomeFormat, 500, "The network in this home directory was begun by a program whose tallies this one cannot go on with.", "Choose another with --home, forget it (`make clean-network`), or run the version that began it."},
		{DiskFull, 507, "The disk is full, or the part of the bus that the key's role has.", "Free some space, or wait; nothing that was acknowledged is lost."},
		{ClockOff, 500, "The clock of this machine is wrong.", "Set it, best by NTP, and start again."},
		{TooFew, 503, "The network has fewer devices than its first round needs.", "Start it with more: `cairn up --nodes 8`."},
		{HomeDamaged, 500, "A file of the home directory is damaged, or is not what belongs there.", "The message names the file; `cairn doctor` (`cairn-node doctor` on a device) says what is lost by it, and mends with --repair what can be mended."},
		{ChainStalled, 503, "The chain makes no blocks.", "See the log (cairn.log in the home): a validator's disk may be full or its clock wrong, or more than a third of the validators' power may be away. `cairn doctor` looks at this machine's."},
		{BadArgument, 400, "A command was given something that it does not take.", "See what it takes: --help."},
		{NotFound, 404, "There is nothing of this name, id or epoch.", "List what there is, and check the spelling."},
		{NotRunning, 503, "No network, or no device, runs in this home directory.", "Start it: `cairn up`, or `cairn-node run`; --home names another home."},
		{InsufficientFund, 402, "The account does not hold enough STONE.", "Fund the account."},
		{FeeLow, 402, "The transaction offers less than the node's minimum gas price.", "Offer at least that (`minimum_gas_price` at /cosmos/base/node/v1beta1/config)."},
		{MempoolFull, 503, "The node keeps no more waiting transactions, or none more of this account.", "Send it again after the next block."},
		{TooManyChanges, 429, "The account has changed as much of the registry in this epoch as it may, or the block takes no more changes.", "Send it again in the next block, or in the next epoch."},
		{ChainUnavailable, 503, "None of the chain's nodes that are known here answers, or each shows another chain.", "Look whether they run and can be reached; a newer manifest of the network may name others (`cairn network join`)."},
		{BadManifest, 400, "The file is no manifest of a network that this program reads, or one that says something impossible.", "Take it again from whoever publishes it (`cairn network publish` writes it), or upgrade this program."},
		{OtherSigner, 403, "The network's manifest is signed by another key than the one that was signed before, or that was demanded.", "Ask whoever publishes it whether that is their new key, and only then name it: --signer did:key:…"},
		{StaleManifest, 409, "The network's manifest is no newer than the one that the home has.", "Nothing: the newer one stays. Take the newest from whoever publishes it."},
		{DeviceKnown, 409, "The device is registered already.", "Nothing to do; changing its owner needs both owners."},
		{NotOwner, 403, "The sender is not the owner that the device, its statement or the certificate names.", "Send it from the owner's account."},
		{StatementExpired, 409, "The claim statement can no longer be used.", "Let the device make a new one."},
		{KeyTaken, 409, "The key serves another account already.", "A key serves one account, once: make a new one."},
		{UnknownVerifier, 502, "The key is not a verifier's in that epoch.", "Set the validator's attestation key and wait one appeal window."},
		{HeaderRound, 409, "The header is not of the round that the chain is in.", "A header is taken in its own round only; the next leader starts anew."},
		{HeaderKnown, 409, "The region has a header for that epoch, or has skipped it.", "Nothing: add signatures to the header that was accepted."},
		{HeaderLeader, 502, "The header is not by the leader drawn for its round, or its proof is wrong.", "Only the drawn leader's header is taken in a round."},
		{HeaderLink, 502, "The header does not follow from the region's last one.", "Start from the last header that was not voided."},
		{HeaderTotals, 502, "The header's totals break a rule of sums.", "Recompute the tally; totals never fall, and paid equals spent."},
		{LowPower, 503, "The signatures hold two thirds of power or less.", "Collect more signatures and commit again in the same round."},
		{AppealClosed, 409, "No vote is open on the header, or its appeal window is closed.", "Appeal while the window is open."},
		{AppealKnown, 409, "The header was appealed before.", "A header is voted on once."},
		{NoMisconduct, 400, "What was shown proves no misconduct.", "Two different headers for one epoch, region and round, both signed, do."},
		{UnknownModel, 404, "No maker registered the model, or the maker itself.", "Register the model first, or give none."},
		{NoFleet, 404, "The device has no fleet as of the epoch's start.", "Set one (`cairn device fleet set`); it counts from the next epoch."},
		{NotInFleet, 409, "The thing's path does not lead to the root of the device's fleet.", "Show the place and path of the fleet that is set now (`cairn device fleet show`); a replaced one has other paths."},
		{NoConsent, 403, "The thing did not agree to be behind this device with these attributes.", "Let the thing sign its consent: chain, device, attributes and last epoch."},
		{ConsentEnded, 409, "The thing's consent is over, or lasts more than 8,760 epochs.", "Let the thing sign a new one, for a year at most."},
		{ThingTwice, 409, "One thing stands at two places of a fleet: it counts at the first that is shown.", "List each thing once, and set the fleet anew."},
		{NotProven, 502, "What is shown does not follow from anything that is believed.", "Name a block that you trust with --trust, or ask another node with --node."},
		{Mismatch, 502, "The header is not what its inputs give.", "Appeal it, with a bond, while its window is open."},
		{UnknownCertificate, 404, "No certificate has this id.", "An id is the device and the watt-hour at which the range begins; a part that was split off has its own."},
		{CertificateNotFinal, 409, "No final header of that epoch and region is there to prove the sheet against.", "Wait until its appeal window is closed; a skipped or voided epoch proves nothing."},
		{CertificateLapsed, 409, "The header is too old to issue certificates by.", "Issue within 35 days of the day's end; what was not issued by then never is."},
		{CertificateProof, 400, "The sheet and its siblings do not lead to the header's outputs root.", "Fetch the proof anew from a verifier, for the header's epoch and region."},
		{CertificateLots, 400, "The lots are not those that the sheet commits to.", "Show all lots of the sheet, in order, and no others."},
		{CertificateBelowMark, 409, "Certificates were issued up to a watt-hour beyond the first of these.", "Nothing to do if it was this sheet. Earlier days cannot be issued after later ones."},
		{CertificateSale, 409, "The offer of a certificate does not hold: it lapsed, it is for somebody else, or its seller no longer has the certificate.", "Ask the seller for a new offer: one lapses with its block, and with any other transaction of the seller."},
		{CertificateRange, 400, "The place to split at is not inside the certificate's range.", "Name a watt-hour of the register between its first and its last."},
		{CertificateHour, 400, "The hour is not the one in which the certificate's watt-hours were produced.", "Name that hour's first second, or 0 for no claim by the hour."},
		{CertificateRetired, 409, "The certificate is retired.", "Nothing to do: it is claimed for good."},
		{CertificateExpired, 409, "The certificate was not retired in time.", "Nothing to do: retire others before they expire."},
	}
}
