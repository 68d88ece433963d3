//go:build !unix

package process

import (
	"errors"
	"os"
)

// flock is not there: roles that need it run on Unix.
func flock(*os.File) error { return errors.ErrUnsupported }
