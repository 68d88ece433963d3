// Package econ is the arithmetic of Cairn's money: what a customer gets for STONE, what an epoch's work is
// paid, what may be minted, and what misconduct costs. The chain's modules, the tally and the simulator all
// call it, so that they agree to the last unit.
//
// # Units
//
// A STONE is 10⁶ ustone (types.Ustone). A credit is a prepaid micro-dollar, 10⁻⁶ USD (types.Credit): it cannot
// be transferred or redeemed. A price is in nUSD per STONE, 10⁻⁹ USD, so that ustone = credits · 10⁹ / price.
// Ratios are in basis points (Bps), decays in wad (10¹⁸). Time counts epochs: 24 make a day and 8,760 a year,
// whatever an epoch's length.
//
// All arithmetic is on unsigned integers. Each ⌊a·b/c⌋ is rounded down after an exact product of up to 256 bits
// (MulDiv, MulDivBig), and a denominator of zero gives zero. What leaves a type's range is an error that
// carries types.EconRange; the caller skips the item and goes on.
//
// # An epoch
//
// Once every region is in or has skipped epoch e, four calls turn its totals into amounts:
//
//	vault, split, err := econ.Settle(vault, &params, econ.Spending{...})     // x/credit: dollars owed become STONE
//	day = day.Advance(econ.DayOf(e), supply)                                 // x/reward: once a day
//	emission, err := econ.Emit(&params, day, econ.Work{...})                 // x/reward: the fading subsidy
//	settlement, err := econ.Finish(split, emission)                          // for the next tally's frame
//	allotment, err := econ.Allot(split, emission, owed, weights)             // per region: what goes into its escrow
//
// The tally that receives the settlement shares it out with a Fold, device by device; the chain accepts a
// header only if its amounts grew by at most Allotment.Devices. What rounding leaves is dust and stays in the
// escrow. Before that, the tally turned network-ordered units into weights with Weigh.
//
// # What must hold
//
// Settled credits never exceed what is owed. A settlement mints at most the vault's allowance, which accrues at
// two basis points a day, and an emission at most Emission.Lid. A customer who pays itself through its own
// device, verifier and treasury gets 96 % back, and the bonus of 2 % while the hour's spending is below its
// mean. Splitting a device, an account or an operator never raises what it is paid. Targets (K_c) are blind to
// spending, so no spending raises a cap.
//
// # Buying, bonds, parameters
//
// Feed turns verifiers' reports into the Band of prices that everything else uses (Fixed stands in for it on
// one machine). Quote and Buy sell credits. Bond and its neighbours size stakes and penalties. Params holds
// every number that governance may move: Params.Validate knows the bounds, and History.Check the pace and the
// timelock.
package econ
