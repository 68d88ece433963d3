package energy

import (
	"github.com/cairn-network/cairn/core/evidence"
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

// Reasons that stand in a tally.
const (
	SiteUnknown    types.Reason = "energy.site_unknown"
	SiteTerms      types.Reason = "energy.site_terms"
	MeterTaken     types.Reason = "energy.meter_taken"
	IntervalOrder  types.Reason = "energy.interval_order"
	IntervalFuture types.Reason = "energy.interval_future"
	IntervalLate   types.Reason = "energy.interval_late"
	RegisterDrop   types.Reason = "energy.register_drop"
	OrderTerms     types.Reason = "energy.order_terms"
)
