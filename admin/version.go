package admin

import (
	"runtime"
	"runtime/debug"
)

// release is set by the build (-ldflags "-X github.com/ircferry/ircferry/admin.release=0.1.0").
var release = ""

// BuildVersion is the version of the running binary.
func BuildVersion() Version {
	v := Version{Version: release, Go: runtime.Version(), API: "v1"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	return v
}
