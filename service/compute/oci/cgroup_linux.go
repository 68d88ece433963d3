package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupParent is where containers are in each hierarchy.
const (
	cgroupParent = "/cairn-oci"
	cgroupRoot   = "/sys/fs/cgroup"
)

// controllers are those that a container needs, by the names of version 1.
var controllers = []string{"memory", "pids", "cpu", "devices", "freezer"}

// unified reports whether the machine has cgroups of version 2 alone.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// missing lists the controllers that can't be used.
func missing() (list []string) {
	if !unified() {
		for _, c := range controllers {
			if unix.Access(filepath.Join(cgroupRoot, c, "cgroup.procs"), unix.W_OK) != nil {
				list = append(list, c)
			}
		}
		return list
	}
	raw, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return []string{"all"}
	}
	have := strings.Fields(string(raw))
	for _, c := range []string{"memory", "pids", "cpu"} {
		if !slices.Contains(have, c) {
			list = append(list, c)
		}
	}
	return list
}

// cgroup is a container's.
type cgroup struct {
	id string
	v2 bool
}

func (g cgroup) path(controller, file string) string {
	if g.v2 {
		return filepath.Join(cgroupRoot, cgroupParent, g.id, file)
	}
	return filepath.Join(cgroupRoot, controller, cgroupParent, g.id, file)
}

// count reads a number that follows a word in a file, 0 where there is none.
func (g cgroup) count(controller, file, word string) uint64 {
	raw, err := os.ReadFile(g.path(controller, file))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(raw))
	for i := 0; i+1 < len(f); i++ {
		if f[i] == word {
			n, _ := strconv.ParseUint(f[i+1], 10, 64)
			return n
		}
	}
	return 0
}

// starved reports whether something was killed for want of memory.
func (g cgroup) starved() bool {
	if g.v2 {
		return g.count("", "memory.events", "oom_kill") > 0
	}
	return g.count("memory", "memory.oom_control", "oom_kill") > 0
}

// crowded reports whether a process could not be begun for want of a place.
func (g cgroup) crowded() bool { return g.count("pids", "pids.events", "max") > 0 }

// freeze has the container stand still, or go on.
func (g cgroup) freeze(on bool) error {
	file, text := g.path("freezer", "freezer.state"), "THAWED"
	if on {
		text = "FROZEN"
	}
	if g.v2 {
		file, text = g.path("", "cgroup.freeze"), map[bool]string{true: "1", false: "0"}[on]
	}
	if err := os.WriteFile(file, []byte(text), 0); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("oci: freeze: %w", err)
	}
	return nil
}

// frozen reports whether it stands still, or is about to.
func (g cgroup) frozen() bool {
	if g.v2 {
		raw, err := os.ReadFile(g.path("", "cgroup.freeze"))
		return err == nil && strings.TrimSpace(string(raw)) == "1"
	}
	raw, err := os.ReadFile(g.path("freezer", "freezer.state"))
	return err == nil && strings.TrimSpace(string(raw)) != "THAWED"
}

// full reports whether a file system has no room left, in bytes or files.
func full(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && (st.Bavail == 0 || st.Ffree == 0)
}
