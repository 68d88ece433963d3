// Package source reads meters: SunSpec devices over Modbus TCP and RTU, DSMR P1 ports, SML heads, and what
// meters tell an MQTT broker.
//
// A protocol gives Fields: values by path, as the device names them. A Map, which is data (maps/*.yaml), says
// which of them are the registers of a site: a new meter is a new file, not new code.
//
//	about: what reads it
//	protocol: sunspec
//	meter: {manufacturer: [1/Mn], model: [1/Md], serial: [1/SN]}
//	power: {path: [203/W]}
//	roles:
//	  grid:
//	    export: {path: [203/TotWhExp, 213/TotWhExp]}  # the first that is there
//	    import: {path: [203/TotWhImp], scale: 1}      # what a unit of the value is in Wh
//	  pv:
//	    pv: {path: [103/WH], back: [203/TotWhImp]}    # back: instead of path, where the owner says that it is wired the other way round
//
// A path may be a sum, "1-0:1.8.1 + 1-0:1.8.2": it is there if all its terms are. In a path, {channel} is the
// number that the owner sets (0 without one, or with "channel: all" in the map the sum of all), * the sum of
// all names or numbers in its place, and {any} the one name that is there. A register whose path was found is
// not read from a later one any more. What a device does not have, or says in a way that cannot be read, is
// absent, never zero; of a sum over topics nothing is read before all have spoken, nor while one is silent.
//
// A broker's retained messages are left out: nobody knows how old they are.
package source
