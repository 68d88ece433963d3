//go:build unix

package shardlog

import "golang.org/x/sys/unix"

func (d osDisk) free() (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(string(d), &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
