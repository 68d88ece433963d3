package oci

import (
	"encoding/binary"
	"runtime"
)

// probeExit is what the probe's program ends with.
const probeExit = 42

// code ends a process with probeExit, by architecture.
var code = map[string][]byte{
	"amd64": {0xbf, probeExit, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05},
	"arm64": {0x40, 0x05, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4},
}

// probe returns a program that needs nothing but a kernel: an ELF header, one segment, and code.
func probe() []byte {
	const base, head = 0x400000, 64 + 56
	body := code[runtime.GOARCH]
	le := binary.LittleEndian
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, 2) // an executable
	b = le.AppendUint16(b, map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH])
	b = le.AppendUint32(b, 1)
	for _, v := range []uint64{base + head, 64, 0} { // where it begins, where the segments are listed
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(le.AppendUint32(b, 1), 5) // to be loaded, read and run
	size := uint64(head + len(body))
	for _, v := range []uint64{0, base, base, size, size, 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, body...)
}
