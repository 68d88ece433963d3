//go:build !unix

package disk

import (
	"errors"
	"math"
)

func statfs(string) (uint64, error) { return math.MaxInt64, nil }

// IsFull reports whether an error says that a disk is full.
func IsFull(err error) bool {
	var full *FullError
	return errors.As(err, &full)
}
