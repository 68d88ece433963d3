package guest

// limits are what a child may use.
type limits struct {
	memory uint64 // bytes, beside what it has mapped already
	cpu    uint64 // seconds of processor time
	files  uint64 // descriptors
	write  uint64 // bytes of a file that it writes
}
