package normalize

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

// The payloads that the golden tests read are also the samples that
// `tollbridge send` signs and sends.
//
//go:embed testdata
var testdata embed.FS

// Samples returns the names of a connector's sample payloads, sorted.
func Samples(connector string) []string {
	entries, _ := testdata.ReadDir("testdata/" + connector) // none: no samples
	var names []string
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext != ".golden" {
			names = append(names, strings.TrimSuffix(e.Name(), ext))
		}
	}
	slices.Sort(names)
	return names
}

// Sample returns a sample payload by its name.
func Sample(connector, name string) ([]byte, error) {
	entries, _ := testdata.ReadDir("testdata/" + connector) // none: no samples
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext != ".golden" && strings.TrimSuffix(e.Name(), ext) == name {
			return testdata.ReadFile("testdata/" + connector + "/" + e.Name())
		}
	}
	return nil, fmt.Errorf("connector %q has no sample %q; it has %s", connector, name, strings.Join(Samples(connector), ", "))
}
