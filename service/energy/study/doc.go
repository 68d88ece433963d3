// Package study is what a person runs at a desk to see what energy's rules do: the commands `cairn energy fraud`,
// `plot` and `bound`. Nothing that runs at a device, a gateway or a verifier imports it.
//
// It measures how well the rules catch those who cheat, on homes that were recorded, next to simpler rules; and what
// they cost the honest, on streets that are made up of homes that have some cause to look odd (Make, Streets).
// docs/energy-fraud.md has the figures.
//
// A folder of recorded homes (Read) becomes a street: each home is a device of an owner of its own, with a
// meter at its grid connection and one of its panels, below one cell. Hour by hour its readings go as evidence
// through the very Verify and Cross that a network runs (energy.New), so that what is measured is the code that
// pays. First all are honest, from the first row to the last; then, from each day's state on, one home cheats
// for one day or for seven, in each of eight ways (Attacks).
//
// Four rules are compared (Rules): Cairn's own; readings above 135 % or 110 % of the nameplate refused; and readings
// above nameplate times the cosine of the sun's zenith angle refused. The three are rebuilt here, as their documents
// describe them.
//
//	caught          share of the windows in which the rule saw something at least once: an alarm day, a refused reading
//	honest_flagged  share of the honest days on which it did
//	withheld_bp     share of what the honest home exported that cannot be sold, in basis points
//
// Days count from when all homes are commissioned and have been compared with their neighbours, or after 120 days.
//
// Recorded are hours, meters are read in quarter hours: an hour's energy is spread evenly over its four. That smooths
// clouds for honest and cheats alike; real quarter hours reach further up, and a device's envelope with them.
package study
