// Package pob is the pure part of the bandwidth check (proof of bandwidth, PoB-2): which prefixes are tested in an
// epoch, when, and what the reports about a device prove of the line behind its key.
//
// # How it works
//
// The epoch's seed draws prefixes (Drawn) and, for each device, n verifiers that challenge it. Two conductors of a
// prefix, one for each half of the epoch, show by a VRF when it is tested (Start): nobody else knows earlier than a
// short notice. At that instant every challenger sends packets of Payload bytes, for Rules.Send, at a rate that
// together is beyond what the device claims. Each packet carries a tag (Tag) that follows from the challenger's secret.
// The device answers each challenger with the packets that came and a hash over their tags (Reply), signed. The challenger
// reports that, with its secret, and when the answer came (Report).
//
// # What it proves
//
// Of n challengers at most f = ⌊(n−1)/3⌋ may lie. The n−f smallest counts add up to no more than those of any n−f
// honest ones. Their tags did not exist before t0, and the answers were there at t0 + Send + Reply, by clocks that
// differ by at most Skew: so all of these bytes came over the line within that time, and Combine, which divides by it, is
// no more than the line carries. That holds whatever the others send, tell the device beforehand, or say that they saw.
// A line that is what it claims to be reads about 0.64 of it: the price of not having to believe anybody. Nobody divides
// by that figure.
//
// It proves a line behind a key, not a place.
package pob
