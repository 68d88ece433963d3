package wireless

import "github.com/cairn-network/cairn/core/types"

// The reasons that Verify refuses with, beside those of package pob.
const (
	TermsUnknown  types.Reason = "wireless.terms_unknown"
	Overpriced    types.Reason = "wireless.overpriced"
	OverCapacity  types.Reason = "wireless.over_capacity"
	ClaimRange    types.Reason = "wireless.claim_range"
	SpeedUnproven types.Reason = "wireless.speed_unproven"
	GrantUnproven types.Reason = "wireless.grant_unproven"
	GrantExpired  types.Reason = "wireless.grant_expired"
)

// The reasons with which devices and gateways refuse.
const (
	UnpaidLimit  types.Reason = "wireless.unpaid_limit"
	CountDispute types.Reason = "wireless.count_dispute"
	AskExpired   types.Reason = "wireless.ask_expired"
	DestDenied   types.Reason = "wireless.dest_denied"

	RadiusUnsigned  types.Reason = "wireless.radius_unsigned"
	RadiusSecret    types.Reason = "wireless.radius_secret"
	RealmUnknown    types.Reason = "wireless.realm_unknown"
	PriceAboveRoute types.Reason = "wireless.price_above_route"
	AcctRewind      types.Reason = "wireless.acct_rewind"
	IdPRefused      types.Reason = "wireless.idp_refused"
	IdPUnreachable  types.Reason = "wireless.idp_unreachable"

	LoRaNoRoute types.Reason = "wireless.lora_no_route"
	LoRaMIC     types.Reason = "wireless.lora_mic"
	LoRaFCnt    types.Reason = "wireless.lora_fcnt"
	LoRaCopies  types.Reason = "wireless.lora_copies"
	GWMPForm    types.Reason = "wireless.gwmp_form"
)

// reasons is the category's table, without what package pob says. What a tally says of a device, a customer meets where
// that device made the mistake: 502.
var reasons = []types.ReasonInfo{
	{Reason: TermsUnknown, Status: 502, Sentence: "The receipt's ask was not handed in, or has no terms of its class that can be read.",
		Try: "Hand in the ask with the first receipt of its session; upgrade the older side."},
	{Reason: Overpriced, Status: 502, Sentence: "The amount is more than bytes times price.",
		Try: "Sign at most ⌊bytes · price / 10⁹⌋ at the price of the session's ask."},
	{Reason: OverCapacity, Status: 502, Sentence: "These are more bytes than the device's line, as it claims it, carries in that time.",
		Try: "Claim what the line carries; hand the receipt in again, as what is too much now counts later."},
	{Reason: ClaimRange, Status: 502, Sentence: "The claim is less than 1 Mbit/s, or more than drawn verifiers can test.",
		Try: "Claim what the line carries, and no more than the rules allow; tests never read more than the claim."},
	{Reason: SpeedUnproven, Status: 409, Sentence: "The ask promises a speed of which tests have not read 55 %.",
		Try: "Promise less, or none until four tests, one of them of the whole prefix, have read as much. Receipts count all the same."},
	{Reason: GrantUnproven, Status: 403, Sentence: "The grant is not for this device, lasts too long, or is not signed by an issuer that the rules list.",
		Try: "Get a grant of at most 720 epochs from an issuer that the rules list."},
	{Reason: GrantExpired, Status: 403, Sentence: "The cell has no grant that is in force: it may not transmit, and what it carries is not paid.",
		Try: "Renew the grant; receipts for what was carried under one count once a grant is in force again."},

	{Reason: UnpaidLimit, Status: 402, Sentence: "The customer has not signed for what the device already carried.",
		Try: "Keep the gateway running, with credits; it goes on with the next receipt."},
	{Reason: CountDispute, Status: 409, Sentence: "Device and customer count differently by more than 2 %.",
		Try: "Compare both counts, which are shown; use another device if it is the one that is wrong."},
	{Reason: AskExpired, Status: 409, Sentence: "The ask has lapsed, or is not the device's newest.", Try: "Take the device's newest ask."},
	{Reason: DestDenied, Status: 403, Sentence: "The device's owner, or the protocol, does not let users reach this destination.",
		Try: "Use another device, whose policy allows it; private addresses and mail (TCP 25) are nowhere allowed."},

	{Reason: RadiusUnsigned, Status: 401, Sentence: "The RADIUS packet has no Message-Authenticator, or a wrong one.",
		Try: "Update the access point, and have it send Message-Authenticator in every Access-Request."},
	{Reason: RadiusSecret, Status: 401, Sentence: "The RADIUS packet was made with another shared secret.",
		Try: "Set the same secret at the access point and at the device."},
	{Reason: RealmUnknown, Status: 404, Sentence: "Nobody takes users of this realm.",
		Try: "Look at the name behind the @; its provider has to publish a route."},
	{Reason: PriceAboveRoute, Status: 409, Sentence: "The device asks more than the realm's provider pays.",
		Try: "Ask less, or wait for a provider that pays more."},
	{Reason: AcctRewind, Status: 409, Sentence: "The access point counts less than it did before: the most that it said stays.",
		Try: "Look whether two access points have one name, or one loses its sessions."},
	{Reason: IdPRefused, Status: 403, Sentence: "The user's provider does not let the user in.", Try: "Check name and password with the provider."},
	{Reason: IdPUnreachable, Status: 504, Sentence: "The user's provider does not answer.",
		Try: "Nothing at the device: it tries again, and keeps what has to be accounted for."},

	{Reason: LoRaNoRoute, Status: 404, Sentence: "Nobody buys frames of this address or join server.",
		Try: "Have the application's gateway publish a route for its DevAddr range or JoinEUI."},
	{Reason: LoRaMIC, Status: 400, Sentence: "The frame's integrity code does not fit the sensor's key.", Try: "Check the sensor's keys."},
	{Reason: LoRaFCnt, Status: 409, Sentence: "The frame's counter, or the join's nonce, was used before.",
		Try: "Have the sensor join again; look for who repeats its frames."},
	{Reason: LoRaCopies, Status: 409, Sentence: "As many copies of the frame were bought as its route pays for.",
		Try: "Nothing: which copies are bought is drawn by chance for each frame."},
	{Reason: GWMPForm, Status: 400, Sentence: "The packet is not one of the packet forwarder's protocol, version 1 or 2.",
		Try: "Configure the gateway's packet forwarder for UDP with JSON, version 1 or 2."},
}
