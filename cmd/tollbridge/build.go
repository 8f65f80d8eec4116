package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// version and commit are set by the linker for releases:
//
//	go build -ldflags "-X main.version=v1.2.3 -X main.commit=4f2a…" ./cmd/tollbridge
//
// If they are empty, the version control data that the toolchain recorded is used.
var version, commit string

// build says from what a program was built.
type build struct {
	version  string // such as v1.2.3, or (devel)
	revision string // of the version control; with "-dirty" if files were changed; may be empty
	goes     string // Go's version
}

// readBuild returns the build of this program.
func readBuild() build {
	b := build{version: "unknown", goes: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.version = info.Main.Version
		dirty := ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				b.revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "-dirty"
			}
		}
		if b.revision != "" {
			b.revision += dirty
		}
	}
	if version != "" {
		b.version = version
	}
	if commit != "" {
		b.revision = commit
	}
	return b
}

// String returns the version, the revision if it is known, and Go's version.
func (b build) String() string {
	if b.revision == "" {
		return b.version + " " + b.goes
	}
	return fmt.Sprintf("%s %s %s", b.version, b.revision, b.goes)
}

// metric returns a gauge that is always 1 and has the build in its labels.
func (b build) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tollbridge_build_info", Help: "Always 1. The labels say from what the program was built.",
		ConstLabels: prometheus.Labels{"version": b.version, "revision": b.revision, "goversion": b.goes},
	}, func() float64 { return 1 })
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "tollbridge", readBuild())
			return err
		},
	}
}
