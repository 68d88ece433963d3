// Package street is a row of homes that are not there: what `cairn up` and the tests have instead of inverters
// and meters.
//
// Each home is one TCP address that speaks Modbus, with up to three units behind it, as a gateway in a meter
// cupboard has:
//
//	unit 1  the inverter: SunSpec models 1, 103 and 120, or 1 and 701; a home without panels has none
//	unit 2  the meter at the grid connection: models 1 and 203
//	unit 3  the battery's meter, where there is a battery: models 1 and 203, "exported" is what the battery gave
//
// The models begin at register 40000, 50000 or 0, as with real makers; a reader has to look for them.
//
// What flows is decided minute by minute in whole watts: by a clear sky, clouds and the way the panels face
// (Weather, Home), by what a household uses in the course of a day, and by a battery that takes what is left
// over and gives it back. Or it is replayed from recorded homes (Recording). Energy is counted in joules, so
// that nothing is lost in rounding, ever:
//
//	panels + import + out of the battery = load + export + into the battery
//
// All of it is a function of a seed and of energy time, which the caller's clock tells: two streets of one seed
// show the same, and one that was stopped goes on as if it had not been (State).
//
// Registers hold still around the end of each quarter hour where the clock runs fast (Config.Hold): at 450
// seconds a second, reading two meters a network's round trip apart would show a house that makes power from
// nothing.
//
// What hardware does wrong, it does here when it is told to (Fault, Unit.Set, Unit.Swap): exceptions, answers
// that end too early, no answers, values that are not implemented, registers that stand still, wrap, or start
// over, and another meter in the same place.
//
// The server side of Modbus is the gateway's own (internal/modbus) and shares nothing with the provider's
// client side: that they agree shows something.
package street
