//go:build unix

package disk

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

func statfs(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	if st.Blocks == 0 { // it counts nothing (ramfs, /proc): writing says what is wrong with it
		return math.MaxUint64, nil
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}

// IsFull reports whether an error says that a disk, or a quota on it, is full.
func IsFull(err error) bool {
	var full *FullError
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.As(err, &full)
}
