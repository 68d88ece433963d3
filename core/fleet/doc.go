// Package fleet is how one registered device stands for many things behind it: sensors, meters, locks, each with an
// Ed25519 key of its own and none with a registration.
//
// The device's owner commits to all of them with one root and their number, which its line in the registry shows
// (Fleet). Evidence then shows a thing as a Member: its key and attributes, its place in the fleet with the path of
// RFC 9162 from there to the root (core/merkle), and its consent. A Roll holds that against the registry's line; it
// is what a category's Verify asks.
//
// # Consent
//
// A root is opaque, so anybody can put anybody's keys under one. Therefore a thing counts only with its own
// signature, over chain, device, its attributes and the last epoch in which it holds: at most MaxConsent ahead, so
// that whoever sold a thing can't go on showing it for ever. Nobody can show another's thing, or say of it what it
// did not say itself; nor can anybody keep a thing from its owner by naming it first, as names are not exclusive.
//
// # What things are worth
//
// Nothing by themselves. A key costs nothing, so whatever grew with the number of things, somebody could have for
// nothing. What a device may be paid for stays bounded by its own bond and quota, and by receipts, however many
// things it shows; a category lets a thing say how a device's work is made up, never that there is more of it.
//
// A thing is its key. One that stands at two places of a fleet counts once (Roll). One that agreed to be behind two
// devices may be shown by both, as a sensor that two gateways hear is: where it would be counted for, a category
// counts it once over all devices of a region, in its Cross.
package fleet
