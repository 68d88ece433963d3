package oci

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// shift is the user of the machine that root in a container is. Nobody else is to have any of the ids that follow it.
const shift = 0x70000000

// period is the CPU controller's, in microseconds.
const period = 100_000

// spec is what runc is told of a container.
func spec(id, rootfs string, c *Config, j *Job) (*specs.Spec, error) {
	uid, gid, err := user(rootfs, c.User)
	if err != nil {
		return nil, err
	}
	args := c.Cmd
	if len(j.Args) > 0 {
		args = j.Args
	}
	args = append(append([]string{}, c.Entrypoint...), args...)
	if len(args) == 0 {
		return nil, bad("the image names no program, and neither does the job")
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	if !path.IsAbs(dir) {
		return nil, bad("working directory %.100q", dir)
	}
	memory, pids, quota, per := int64(j.Memory), int64(maxPids)*int64(j.Slots), int64(j.Slots)*period, uint64(period)
	none := []string{}
	s := &specs.Spec{
		Version: "1.0.2", Hostname: "cairn", Root: &specs.Root{Path: rootfs},
		Process: &specs.Process{
			User: specs.User{UID: uid, GID: gid}, Args: args, Env: environment(c.Env, j.Env), Cwd: dir, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: none, Effective: none, Inheritable: none, Permitted: none, Ambient: none},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 4096, Hard: 4096}, {Type: "RLIMIT_CORE"}},
			OOMScoreAdj:  new(500), // where the machine itself runs out of memory, containers go first
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k", "nr_inodes=1k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m", "nr_inodes=4k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroupParent + "/" + id,
			UIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: shift, Size: ids}},
			GIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: shift, Size: ids}},
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
				Memory:  &specs.LinuxMemory{Limit: &memory, Swap: &memory},
				Pids:    &specs.LinuxPids{Limit: &pids},
				CPU:     &specs.LinuxCPU{Quota: &quota, Period: &per},
			},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
				"/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	for _, n := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace,
		specs.UserNamespace} {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: n})
	}
	if s.Linux.Seccomp, err = seccomp.GetDefaultProfile(s); err != nil {
		return nil, fmt.Errorf("oci: seccomp: %w", err)
	}
	return s, nil
}

// environment joins lists of NAME=value: what comes later counts.
func environment(lists ...[]string) []string {
	at, env := map[string]int{}, []string{}
	for _, list := range append([][]string{{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}}, lists...) {
		for _, e := range list {
			name, _, ok := strings.Cut(e, "=")
			if !ok || name == "" || strings.ContainsRune(e, 0) {
				continue
			}
			if i, known := at[name]; known {
				env[i] = e
				continue
			}
			at[name] = len(env)
			env = append(env, e)
		}
	}
	return env
}

// user finds the ids of an image's USER: NAME or ID, and :GROUP if that is said.
func user(rootfs, text string) (uid, gid uint32, err error) {
	name, group, said := strings.Cut(text, ":")
	if name == "" {
		name = "0"
	}
	find := func(file, name string, fields int) ([]string, error) {
		root, err := os.OpenRoot(rootfs)
		if err != nil {
			return nil, fmt.Errorf("oci: %w", err)
		}
		defer root.Close()
		f, err := root.Open(file)
		if err != nil {
			return nil, nil
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if l := strings.Split(s.Text(), ":"); len(l) >= fields && (l[0] == name || l[2] == name) {
				return l, nil
			}
		}
		return nil, nil
	}
	id := func(s string) (uint32, error) {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || n >= ids {
			return 0, bad("user %.100q of the image", text)
		}
		return uint32(n), nil
	}
	line, err := find("etc/passwd", name, 4)
	if err != nil {
		return 0, 0, err
	}
	if line != nil {
		name = line[2]
		if !said {
			group, said = line[3], true
		}
	}
	if uid, err = id(name); err != nil || !said || group == "" {
		return uid, 0, err
	}
	if line, err = find("etc/group", group, 3); err != nil {
		return 0, 0, err
	}
	if line != nil {
		group = line[2]
	}
	gid, err = id(group)
	return uid, gid, err
}
