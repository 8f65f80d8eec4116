// Package suggest finds the name that a mistyped one is closest to.
package suggest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Closest returns the choice with the least edit distance from a name, if the distance is
// small: at most 1 for three letters, 2 for up to eight, and a third of them for longer
// names. Otherwise it returns the only choice that begins with the name, or "".
func Closest(name string, choices []string) string {
	most := max(2, len(name)/3)
	if len(name) <= 3 {
		most = 1
	}
	best, least := "", most+1
	for _, choice := range choices {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(choice)); d < least {
			best, least = choice, d
		}
	}
	if best != "" || name == "" {
		return best
	}
	longer := slices.DeleteFunc(slices.Clone(choices), func(c string) bool { return !strings.HasPrefix(c, name) })
	if len(longer) == 1 {
		return longer[0]
	}
	return ""
}

// Text returns a question that names the closest choice, if there is one, and then what is
// said in any case.
func Text(name string, choices []string, always string) string {
	if like := Closest(name, choices); like != "" {
		return fmt.Sprintf("is it %q? %s", like, always)
	}
	return always
}
