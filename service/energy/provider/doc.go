// Package provider is what runs at a home: it reads the meters, stamps what they show each quarter hour, keeps
// it until it counts, and asks the owner's prices.
//
// # Reading
//
// Each meter (package source) is read every ten seconds of energy time, faster clocks at least five times a
// second. For each quarter hour the sample nearest its end becomes the record. A meter that does not answer,
// answers with an exception or cuts a frame off, or has nothing in a register makes that register absent and
// one line in the log, with the reason energy.source_bad; it is asked again. A record that would miss a
// register which the one before had is left out, three times in a row at most: the next whole one covers up to
// four quarter hours, while one with a hole would spoil two.
//
// # What is believed
//
// What a register shows is taken over if it can follow from what it showed last: it rose by no more than a
// quarter above what can have flowed since (rating_w), or stands still. A counter that falls has gone over if
// the step, modulo 2³² or the next power of ten, fits that. A reading that is coarser (another power of ten)
// and lies below the last one by less than it counts is rounded, and 0 after something else is "not read".
// Everything else makes the register absent and is said to the owner (energy.register_odd), and the next
// reading that can follow goes on from the last one that did. Readings that do not follow, but for a quarter of
// an hour follow from each other, are a register that began anew: the step to it is declared unknown, and the
// place before is kept: if the value returns there, it goes on from there, likewise without the step. Another
// serial number is another meter, and a new site is declared, too. All this survives a restart.
//
// # Time
//
// The machine's clock stamps, checked against the notices: of those of a day, the one that came with the least
// delay tells what time it is. A clock that is 30 seconds off stamps nothing, and says so, until it is set
// (energy.clock_off). What was stamped before the first notice after a start is dropped if that notice shows
// the clock to be off.
//
// # Store and forward
//
// Records are on disk, synced, before they are handed in, for 35 days. With each epoch's notice the device
// reads from its line what counts, and hands in the rest in as few envelopes as possible: site, resets and
// records are derived from what is on disk and the line, so that a crash, a lost envelope, a voided header or a
// lost disk all mend themselves the same way. What was handed in and is not in the tally that should have it is
// handed in again, by itself.
//
// # On disk
//
// In the directory that the host gives, journal.db (bbolt): records by interval, where each counter stands, the
// last clock, and the numbers of boots and asks.
package provider
