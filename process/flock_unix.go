//go:build unix

package process

import (
	"os"
	"syscall"
)

// flock takes a file for this process, or says at once that another has it.
func flock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
