package mutation

import (
	"slices"
	"strings"
	"testing"
)

// unsigned is a leaf that no signature speaks for, and what of an event is made
// of it, since the processor has no signed one.
type unsigned struct {
	connector string
	leaf      string // its path; a "*" at the end is any
	may       string // the parts of the event that it may change, separated by ", "
	why       string
	page      string // the processor's
}

func (u unsigned) matches(path string) bool {
	if prefix, ok := strings.CutSuffix(u.leaf, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return path == u.leaf
}

var list = []unsigned{}

// listed returns what an entry allows, or the empty text.
func listed(connector, part string, paths []string) string {
	for _, u := range list {
		if u.connector == connector && slices.Contains(strings.Split(u.may, ", "), part) && slices.ContainsFunc(paths, u.matches) {
			return u.leaf + ": " + part
		}
	}
	return ""
}

// unneeded reports what entries of the list allow and nothing needs.
func unneeded(t *testing.T, connector string, needed map[string]bool) {
	for _, u := range list {
		if u.connector != connector {
			continue
		}
		for part := range strings.SplitSeq(u.may, ", ") {
			if !needed[u.leaf+": "+part] {
				t.Errorf("the list has that %s may change the %s, and it does not", u.leaf, part)
			}
		}
	}
}
