// Package buildinfo names the version of the program.
package buildinfo

import "runtime/debug"

// Version is set by the linker; a build without it says the module's version, or "dev".
var Version string

func init() {
	if Version != "" {
		return
	}
	Version = "dev"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		Version = info.Main.Version
	}
}
