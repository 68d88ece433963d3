//go:build !linux || !(amd64 || arm64)

package guest

import (
	"errors"
	"os"
	"syscall"
)

// errSystem says that this system cannot hold guests.
var errSystem = errors.New("guest: strangers' programs are held on Linux only, on amd64 and arm64")

func restrict(limits) error                    { return errSystem }
func fence([]string, []string) ([]Lack, error) { return nil, errSystem }
func seal(bool) ([]Lack, error)                { return nil, errSystem }
func attributes() *syscall.SysProcAttr         { return nil }
func pause(*os.Process) error                  { return errSystem }
func resume(*os.Process) error                 { return errSystem }
func reserve(uint64) ([]byte, error)           { return nil, errSystem }
func attempt() []Lack                          { return []Lack{{"system", errSystem.Error()}} }
