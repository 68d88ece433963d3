// Package energy is category 4: homes and microgrids whose meters are read each quarter hour. SPEC.md has every
// rule and every byte.
//
// The unit is the watt-hour. A device is a site: its inverter, its grid meter and perhaps a battery, read by
// one node (Site). Each quarter hour of energy time (Clock) its cumulative registers become a Record, and
// records travel as signed evidence (Meter). A register that starts over is declared (Reset).
//
// Verify holds each device's records against physics: registers never fall, what goes out came in
// (conservation), the sun bounds what panels can have produced (Place, Envelope), and green energy out of a
// battery went in green. Cross compares devices: neighbours see the same sun (peers), one meter serves one
// device, and the region is cleared: bids of customers (orders) against asks of devices, at one price per zone
// and interval (Auction), then certificates out of what is left. What is sold is paid by the order that bought
// it; what is not can be issued as certificates (core/lot).
//
// Nothing is paid for being there, or for a reading that nobody bought.
package energy
