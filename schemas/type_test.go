package schemas_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// families lists the first words of the types.
var families = []string{"payment", "refund", "dispute", "payout", "mandate", "fraud"}

func TestTypes(t *testing.T) {
	form := regexp.MustCompile(`^(` + strings.Join(families, "|") + `)\.[a-z]+(_[a-z]+)*$`)
	seen := map[schemas.Type]bool{}
	said := map[string]schemas.Type{}
	for _, typ := range schemas.Types() {
		if !form.MatchString(string(typ)) { // it is also the name of a topic
			t.Errorf("%s is not of the form %s", typ, form)
		}
		if seen[typ] {
			t.Errorf("%s is in the table twice", typ)
		}
		seen[typ] = true
		if !typ.Known() {
			t.Errorf("%s is not known", typ)
		}
		if says := typ.Description(); !regexp.MustCompile(`^[A-Z].*[^.]\.$`).MatchString(says) {
			t.Errorf("the description of %s is %q, want a sentence with a full stop", typ, says)
		}
		if other, ok := said[typ.Description()]; ok {
			t.Errorf("%s and %s have the same description", typ, other)
		}
		said[typ.Description()] = typ
		if got := typ.Family() + "." + typ.Status(); got != string(typ) {
			t.Errorf("family and status of %s are %s", typ, got)
		}
		if got, want := typ.Schema(), "urn:tollbridge:schemas/"+string(typ)+"/1"; got != want {
			t.Errorf("schema of %s is %s, want %s", typ, got, want)
		}
	}
	for _, family := range families {
		if !slices.ContainsFunc(schemas.Types(), func(t schemas.Type) bool { return t.Family() == family }) {
			t.Errorf("no type is of the family %s", family)
		}
	}
}

func TestUnknownTypes(t *testing.T) {
	for _, typ := range []schemas.Type{"", "payment", "payment.", "payment.Captured", "payment.captured ", "charge.succeeded"} {
		if typ.Known() || typ.Description() != "" {
			t.Errorf("%q is known, with the description %q", typ, typ.Description())
		}
	}
	if f, s := schemas.Type("payment").Family(), schemas.Type("payment").Status(); f != "payment" || s != "" {
		t.Errorf("family and status of a single word are %q and %q, want the word and nothing", f, s)
	}
}

// TestTypesIsACopy: a caller that changes the list does not change the table of
// types.
func TestTypesIsACopy(t *testing.T) {
	schemas.Types()[0] = "mine"
	if schemas.Types()[0] == "mine" {
		t.Error("a caller can change the table of types")
	}
}
