// Package customer is energy's door at the gateway: orders for a neighbour's energy and for certificates, and
// what came of them.
//
// An order is a ceiling that the wallet's session key signs: for the energy of neighbours that a meter draws
// (rule community), or for the origin of what is left, retired for whoever bought it (rule certificate). Its
// price is known only when a tally has cleared the interval. The books write an order down before it is handed
// in, so whatever kills the gateway, an order that was answered for is handed in, and none is with two contents
// under one number (order.go).
//
// What an order bought is a leaf of the outputs of a tally, a Statement. The customer follows the tallies
// (follow.go), keeps each of its accounts' statements with the Merkle proof that leads to the header on the
// chain, the prices of all markets, and the sheets from which owners issue certificates; all of it bounded, and
// none of it needs to be believed: docs/energy.md checks one by hand.
//
// The consumption of a meter is read from its line in the tally's state, interval by interval (meter.go). With
// it, and with what was retired for each hour, anybody can compute the score of /score: which share of the
// consumption was matched in the hour it happened.
//
// A Modbus TCP listener shows each device of an account to energy managers as a SunSpec device (modbus.go). The
// commands of `cairn energy` that ask a gateway are here too (command.go); those that measure the rules are in
// service/energy/study.
package customer
