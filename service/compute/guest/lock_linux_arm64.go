package guest

import "golang.org/x/sys/unix"

const (
	machine       = unix.AUDIT_ARCH_AARCH64
	machineStat   = unix.SYS_FSTATAT
	machineRename = unix.SYS_RENAMEAT
)

var machineCalls []uint32
