// Package samples holds a payload for each event type of each connector. The
// golden tests of package normalize read them, with the events that each must
// give beside it; `tollbridge send` signs and sends them.
package samples

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed */*.json */*.txt */*.xml
var files embed.FS

// Names returns the names of a connector's samples, sorted.
func Names(connector string) []string {
	entries, _ := files.ReadDir(connector) // an error means that there are none
	var names []string
	for _, e := range entries {
		names = append(names, name(e.Name()))
	}
	slices.Sort(names)
	return names
}

// Payload returns a sample by its name.
func Payload(connector, sample string) ([]byte, error) {
	entries, _ := files.ReadDir(connector) // an error means that there are none
	for _, e := range entries {
		if name(e.Name()) == sample {
			return files.ReadFile(connector + "/" + e.Name())
		}
	}
	return nil, fmt.Errorf("connector %q has no sample %q; it has %s", connector, sample, strings.Join(Names(connector), ", "))
}

func name(file string) string { return strings.TrimSuffix(file, path.Ext(file)) }
