// Package wireless is category 1: devices sell connectivity by the byte, and strangers measure the line behind each.
// SPEC.md has every rule and every byte.
//
// # Bytes
//
// A customer pays for bytes, up plus down, by receipts of its own count, in one of four classes (Tunnel, WiFi, LoRa,
// Cell). Limits says how much may be unpaid, Amount what bytes cost. Receipts earn no emission, whoever signs them.
//
// # Lines
//
// Each epoch a device hands in its Endpoint: where it is and what it claims. Package pob says which lines an epoch
// tests, and what the reports of the drawn verifiers prove. Of the last six readings the third smallest is the score;
// Last is the latest of a test of the whole prefix at one instant, so that devices behind one line share what it
// carries. The smaller of the two, and never more than the claim, is what is proven (State.Proven): it makes the
// network-ordered units, the quality, and which speeds an ask may name.
//
// What the claims of one prefix add up to is bounded, since drawn verifiers have to send that much at one instant:
// beyond it, Cross shares the bound out (State.Share).
//
// # Permission
//
// A small cell transmits by a Grant, which an issuer that the rules list has signed. Without one that is in force,
// receipts of class Cell do not count.
//
// Verifier.Verify judges all of it and keeps a State of less than 100 bytes for each device.
package wireless
