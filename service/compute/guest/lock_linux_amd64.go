package guest

import "golang.org/x/sys/unix"

const (
	machine       = unix.AUDIT_ARCH_X86_64
	machineStat   = unix.SYS_NEWFSTATAT
	machineRename = unix.SYS_RENAMEAT
)

var machineCalls = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL}
