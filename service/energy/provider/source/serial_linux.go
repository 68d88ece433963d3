package source

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// speeds are those that P1 ports and optical heads use.
var speeds = map[uint]uint32{300: unix.B300, 1200: unix.B1200, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600, 19200: unix.B19200,
	38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200}

// openSerial opens a serial line for reading: eight bits, no parity, one stop bit, nothing translated.
func openSerial(path string, speed uint) (io.ReadCloser, error) {
	rate, ok := speeds[speed]
	if !ok {
		return nil, fmt.Errorf("a serial line of %d bits/s is not known", speed)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) {
			t := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | rate, Ispeed: rate, Ospeed: rate}
			t.Cc[unix.VMIN] = 1
			failed = unix.IoctlSetTermios(int(fd), unix.TCSETS, &t)
		})
		if err == nil {
			err = failed
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("set up serial line %s: %w", path, err)
	}
	return f, nil
}
