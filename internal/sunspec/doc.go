// Package sunspec reads and writes the SunSpec information models that energy devices keep in their Modbus
// registers (SunSpec Device Information Model Specification 1.1). It does no I/O of its own: a client gives
// Walk a Reader, a server answers out of a Space.
//
// A device's registers begin, at address 40000, 0 or 50000, with the two words "SunS". Blocks follow: a model's
// number, its length in words, and its points; the number 0xffff ends them. The blocks behind a Common block
// (model 1), up to the next one, belong to the device that it names: an inverter and a meter behind one unit
// are two devices. A point that the device does not have holds a value that its type sets aside: such a point
// is absent, never zero.
//
//	inverter := sunspec.Inverter3.New()
//	inverter.Set("W_SF", 0)
//	inverter.Set("W", 4200)
//	space := sunspec.NewSpace(40000, sunspec.Common.New(), inverter)
//	words, ok := space.Read(40000, 2) // 0x5375, 0x6e53
//
// Known are the models by which meters and inverters are read: 1, 101 to 103, 111 to 113, 120, 201 to 204, 211
// to 214, 701 and 702.
package sunspec
