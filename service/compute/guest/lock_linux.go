//go:build amd64 || arm64

package guest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// mapped is how much address space this process has taken.
func mapped() uint64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseUint(strings.Fields(string(statm))[0], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// restrict sets what this process may use.
func restrict(l limits) error {
	for _, r := range []struct {
		what  int
		limit uint64
	}{
		{unix.RLIMIT_AS, mapped() + l.memory}, {unix.RLIMIT_CPU, l.cpu}, {unix.RLIMIT_NOFILE, l.files}, {unix.RLIMIT_FSIZE, l.write},
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_MEMLOCK, 0}, {unix.RLIMIT_MSGQUEUE, 0},
	} {
		if err := unix.Setrlimit(r.what, &unix.Rlimit{Cur: r.limit, Max: r.limit}); err != nil {
			return fmt.Errorf("guest: limit %d to %d: %w", r.what, r.limit, err)
		}
	}
	return nil
}

// fence lets this process reach the files below read and write only, and no network. It returns what the kernel
// cannot do of that.
func fence(read, write []string) (lacks []Lack, err error) {
	if v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		lacks = append(lacks, Lack{"landlock", fmt.Sprintf("the kernel does not fence files in (Landlock, Linux 5.13: %v); a guest that escapes WebAssembly is held by seccomp alone", errno)})
		return lacks, nil
	} else if v < 4 {
		lacks = append(lacks, Lack{"landlock_net", fmt.Sprintf("the kernel's Landlock is of version %d and does not fence the network in (4, Linux 6.7); seccomp does", v)})
	}
	var rules []landlock.Rule
	if len(read) > 0 {
		rules = append(rules, landlock.RODirs(read...))
	}
	if len(write) > 0 {
		rules = append(rules, landlock.RWDirs(write...))
	}
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return lacks, fmt.Errorf("guest: landlock: %w", err)
	}
	return lacks, nil
}

// harmless are system calls that a Go program needs to compute, wait, and use the descriptors that it has.
var harmless = append([]uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MINCORE,
	unix.SYS_FUTEX, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_RESTART_SYSCALL, unix.SYS_GETRANDOM,
	unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_CREATE1, unix.SYS_EVENTFD2, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ,
}, machineCalls...)

// filing are those that a compiler needs beside them, for files that Landlock lets it reach.
var filing = []uint32{
	unix.SYS_OPENAT, unix.SYS_FSTAT, machineStat, unix.SYS_MKDIRAT, machineRename, unix.SYS_UNLINKAT, unix.SYS_FSYNC, unix.SYS_LSEEK, unix.SYS_PREAD64,
	unix.SYS_PWRITE64, unix.SYS_FCNTL, unix.SYS_STATX, unix.SYS_GETCWD, unix.SYS_COPY_FILE_RANGE, unix.SYS_PIPE2, unix.SYS_MMAP, unix.SYS_MPROTECT,
}

// seal leaves this process the harmless system calls: no network, no programs, and unless it compiles no files
// and no memory that becomes code. It holds for all threads and cannot be undone. It returns what the kernel
// cannot do of that.
func seal(compiles bool) ([]Lack, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("guest: no new privileges: %w", err)
	}
	program := filter(compiles)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const setModeFilter, tsync = 1, 1
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	switch errno {
	case 0:
		return nil, nil
	case unix.ENOSYS, unix.EINVAL:
		return []Lack{{"seccomp", fmt.Sprintf("the kernel does not filter system calls (seccomp: %v); a guest that escapes WebAssembly can use the network", errno)}}, nil
	}
	return nil, fmt.Errorf("guest: seccomp: %w", errno)
}

// filter is the program that decides about each system call. What is not allowed fails with EPERM.
func filter(compiles bool) []unix.SockFilter {
	const (
		nr, arch, first, third = 0, 4, 16, 32 // offsets in seccomp_data: the number, the machine, the low halves of two arguments
		load                   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal                  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyOf                  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		kill, allow            = 0x80000000, 0x7fff0000
		denied, unknown        = 0x00050000 | uint32(unix.EPERM), 0x00050000 | uint32(unix.ENOSYS)
	)
	take := func(offset uint32) unix.SockFilter { return unix.SockFilter{Code: load, K: offset} }
	give := func(answer uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: answer}
	}
	when := func(code uint16, k uint32, yes, no uint8) unix.SockFilter { // how many to leap over
		return unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no}
	}
	p := []unix.SockFilter{
		take(arch), when(equal, machine, 1, 0), give(kill), take(nr),
		// Threads may begin, processes may not. clone3 has its flags in memory: say that there is none.
		when(equal, unix.SYS_CLONE, 0, 4), take(first), when(anyOf, unix.CLONE_THREAD, 0, 1), give(allow), give(denied),
		when(equal, unix.SYS_CLONE3, 0, 1), give(unknown),
		// Signals go to this process only.
		when(equal, unix.SYS_TGKILL, 0, 4), take(first), when(equal, uint32(os.Getpid()), 0, 1), give(allow), give(denied),
	}
	calls := harmless
	if compiles {
		calls = append(calls[:len(calls):len(calls)], filing...)
	} else {
		p = append(p, when(equal, unix.SYS_MMAP, 1, 0), when(equal, unix.SYS_MPROTECT, 0, 4),
			take(third), when(anyOf, unix.PROT_EXEC, 0, 1), give(denied), give(allow))
	}
	for _, call := range calls {
		p = append(p, when(equal, call, 0, 1), give(allow))
	}
	return append(p, give(denied))
}

// attributes has a child die with its parent, in a group of its own, so that a terminal's signals do not reach it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

func pause(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// reserve takes address space for a guest's memory.
func reserve(n uint64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
}

// attempt tries what must not succeed, and returns what did.
func attempt() (lacks []Lack) {
	if f, err := os.Open("/"); err == nil {
		f.Close()
		lacks = append(lacks, Lack{"files", fmt.Sprintf("a guest that escapes WebAssembly can open files (%v)", err)})
	}
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
		unix.Close(fd)
		lacks = append(lacks, Lack{"network", "a guest that escapes WebAssembly can open a socket"})
	}
	if err := unix.Exec("/nothing", []string{"-"}, nil); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		lacks = append(lacks, Lack{"programs", fmt.Sprintf("a guest that escapes WebAssembly can start programs (%v)", err)})
	}
	if err := unix.Kill(os.Getppid(), 0); err == nil {
		lacks = append(lacks, Lack{"signals", "a guest that escapes WebAssembly can stop other processes"})
	}
	if _, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err == nil {
		lacks = append(lacks, Lack{"code", "a guest that escapes WebAssembly can make code"})
	}
	if _, err := reserve(1 << 40); err == nil {
		lacks = append(lacks, Lack{"memory", "a guest can take any amount of memory"})
	}
	return lacks
}
