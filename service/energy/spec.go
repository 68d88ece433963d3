package energy

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Classes of the category: a device asks one price for each (receipt.Ask: micro-credits per Wh).
const (
	Community   types.Class = 1 // unit Wh: to neighbours, when it flows
	Certificate types.Class = 2 // unit Wh: its origin, retired for whoever bought it
)

// Kinds of evidence. All count also in a later epoch.
const (
	KindSite  evidence.Kind = 1 // Site
	KindMeter evidence.Kind = 2 // Meter
	KindReset evidence.Kind = 3 // Reset
)

// Reasons that evidence and asks are refused with.
const (
	SiteUnknown    types.Reason = "energy.site_unknown"
	SiteTerms      types.Reason = "energy.site_terms"
	MeterTaken     types.Reason = "energy.meter_taken"
	IntervalOrder  types.Reason = "energy.interval_order"
	IntervalFuture types.Reason = "energy.interval_future"
	IntervalLate   types.Reason = "energy.interval_late"
	RegisterDrop   types.Reason = "energy.register_drop"
	ResetLast      types.Reason = "energy.reset_last"
	AskBad         types.Reason = "energy.ask_terms"
	AskStale       types.Reason = "energy.ask_stale"
	ByOrder        types.Reason = "energy.by_order"
)

// Reasons that an order buys nothing for (Statement.Reason).
const (
	OrderTerms        types.Reason = "energy.order_terms"
	OrderMeterForeign types.Reason = "energy.order_meter_foreign"
	OrderDouble       types.Reason = "energy.order_double"
	OrderExpired      types.Reason = "energy.order_expired"
)

// Names of what is counted and can neither be sold nor issued (Sums). No item is refused with them.
const (
	CountNetted       types.Reason = "energy.netted"
	CountGap          types.Reason = "energy.gap"
	CountConservation types.Reason = "energy.conservation"
	CountAboveSky     types.Reason = "energy.above_sky"
	CountOrigin       types.Reason = "energy.storage_origin"
	CountPeerCap      types.Reason = "energy.peer_cap"
	CountFrozen       types.Reason = "energy.frozen"
	CountLapsed       types.Reason = "energy.alarm"
	CountUncertified  types.Reason = "energy.uncertified"
	CountCrowded      types.Reason = "energy.crowded"
)

// Reasons that a device's own node gives its owner, in its log. No item is refused with them.
const (
	SourceBad       types.Reason = "energy.source_bad"
	ClockOff        types.Reason = "energy.clock_off"
	RegisterOdd     types.Reason = "energy.register_odd"
	RegisterMissing types.Reason = "energy.register_missing"
	RegisterCoarse  types.Reason = "energy.register_coarse"
)

// Reference is what a kWh is worth, in micro-credits: about what households pay for one.
const Reference = 150_000

var spec = tally.Spec{
	Category: types.Energy,
	Name:     "energy",
	Classes: []tally.Class{
		{Class: Community, Name: "community", Unit: "Wh", Scale: 1},
		{Class: Certificate, Name: "certificate", Unit: "Wh", Scale: 1},
	},
	Kinds: []tally.Kind{
		{Kind: KindSite, Name: "site", Cumulative: true},
		{Kind: KindMeter, Name: "meter", Cumulative: true},
		{Kind: KindReset, Name: "reset", Cumulative: true},
	},
	// An hour is one envelope of four records; a week that was stored while the bus was down, three of 256.
	Quota: tally.Quota{Count: 32, Bytes: 128 << 10},
	// What is read, held, or retired by its own owner earns nothing: there are no network-ordered units, so
	// neither quota nor bond.
	Economy:  tally.Economy{Reference: Reference, PriceUnit: 1000},
	MaxState: MaxState,
	Reasons:  reasons,
}

// reasons is the category's table. What devices are refused with, and what is counted of them, a customer meets
// only in what others say of them: 409.
var reasons = []types.ReasonInfo{
	{Reason: SiteUnknown, Status: 409, Sentence: "The device has not said what it is.", Try: "Hand in a site before the first reading."},
	{Reason: SiteTerms, Status: 409, Sentence: "The site is out of bounds, or the device has no place.", Try: "Check nameplate, meters and battery; register the device with a cell of resolution 3 or finer."},
	{Reason: MeterTaken, Status: 409, Sentence: "Another device named one of the site's meters before.", Try: "Let one device report each meter; if it is yours, retire the other device."},
	{Reason: IntervalOrder, Status: 409, Sentence: "A reading is not of a later interval than the one before.", Try: "Hand each interval in once, in order."},
	{Reason: IntervalFuture, Status: 409, Sentence: "A reading is of an interval that lies too far ahead.", Try: "Set the clock, and wait for the interval to end."},
	{Reason: IntervalLate, Status: 409, Sentence: "A reading is more than seven days old.", Try: "Leave out what is older; what flowed meanwhile is lost."},
	{Reason: RegisterDrop, Status: 409, Sentence: "A register shows less than it did before.", Try: "Declare a reset with the last reading before and the first one after."},
	{Reason: ResetLast, Status: 409, Sentence: "The reset does not begin at the last reading that counts.", Try: "Hand in all readings before it, then the reset."},
	{Reason: AskBad, Status: 409, Sentence: "The ask has no number, or its price is above 65,535 micro-credits per Wh.", Try: "Sign an ask with the terms of the category."},
	{Reason: AskStale, Status: 409, Sentence: "An ask with the same or a higher number counts already.", Try: "Raise the number with every change of price."},
	{Reason: ByOrder, Status: 409, Sentence: "Energy is paid by orders: what it costs is known only when it is cleared.", Try: "Sign an order."},
	{Reason: OrderTerms, Status: 400, Sentence: "The order's rule or selector makes no sense.", Try: "Name rule, zone, technology and most Wh per interval, and for community energy the meter."},
	{Reason: OrderMeterForeign, Status: 403, Sentence: "The meter of the order is not one that the paying account owns.", Try: "Let the meter's owner grant the key that signs the order."},
	{Reason: OrderDouble, Status: 409, Sentence: "The meter has another order of the same rule, with a lower session.", Try: "Cancel one of them."},
	{Reason: OrderExpired, Status: 409, Sentence: "The order's session or key has expired.", Try: "Sign a new order."},
	{Reason: CountNetted, Status: 409, Sentence: "In the same interval the site took as much from the grid.", Try: "Nothing: only what is fed in beyond that counts."},
	{Reason: CountGap, Status: 409, Sentence: "Two readings lie more than an hour apart, or miss a register.", Try: "Keep the node on and its meters connected."},
	{Reason: CountConservation, Status: 409, Sentence: "More came out of the site than went in.", Try: "Check which register is which, and their scale."},
	{Reason: CountAboveSky, Status: 409, Sentence: "The panels made more than the sun allows.", Try: "Check the nameplate, the place and the meter's scale."},
	{Reason: CountOrigin, Status: 409, Sentence: "It came out of a battery that was not charged from the panels.", Try: "Nothing: grid power stays grid power."},
	{Reason: CountPeerCap, Status: 409, Sentence: "The day's production is above what neighbours make likely.", Try: "Check the meter; if the site grew, declare it anew."},
	{Reason: CountFrozen, Status: 409, Sentence: "The device, or a meter of it, is frozen after alarms.", Try: "Find out what was wrong; it ends by itself."},
	{Reason: CountLapsed, Status: 409, Sentence: "The day had an alarm, so what was not sold of it is never issued.", Try: "Check nameplate, place and meters."},
	{Reason: CountUncertified, Status: 409, Sentence: "A site with one meter cannot have certificates.", Try: "Have the panels metered apart from the grid connection."},
	{Reason: CountCrowded, Status: 409, Sentence: "The day has more lots than the tally keeps.", Try: "Sell by order what a large plant makes."},
	{Reason: SourceBad, Status: 409, Sentence: "A meter does not answer, or says something that cannot be.", Try: "Check its cable and address; the log says what it said. It is asked again."},
	{Reason: ClockOff, Status: 409, Sentence: "The machine's clock is more than 30 seconds off, so nothing is stamped.", Try: "Set the clock, best by NTP."},
	{Reason: RegisterOdd, Status: 409, Sentence: "A register rose faster than its meter can count, fell, or shows 0, so the reading is not counted.", Try: "Nothing if it passes: the next reading that can be goes on from the last one. If it comes again and again, set rating_w of the meter to what flows through it at most, and check its cable."},
	{Reason: RegisterMissing, Status: 409, Sentence: "A meter never sends a register that its role needs.", Try: "Choose another map, channel or role for the meter in node.yaml, or write a map of your own that names what it sends."},
	{Reason: RegisterCoarse, Status: 409, Sentence: "A register counts in such large steps that quarter hours can hardly be told apart.", Try: "Have the meter show more digits: a German meter does once its PIN is entered. Until then energy counts in these steps."},
}
