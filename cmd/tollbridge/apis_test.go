package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/verify"
)

// The lines before and after the table in docs/processor-apis.md.
const (
	apisBegin = "<!-- `make docs` writes this table -->\n"
	apisEnd   = "<!-- the end of the table -->\n"
)

// TestAPIsPage: the table of keys and limits in docs/processor-apis.md is made of the
// tables of connectors, lists and webhook endpoints.
func TestAPIsPage(t *testing.T) {
	const path = "../../docs/processor-apis.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), apisBegin)
	_, after, ends := strings.Cut(rest, apisEnd)
	if !begins || !ends {
		t.Fatalf("%s lacks one of the lines %s and %s", path, apisBegin, apisEnd)
	}
	want := before + apisBegin + apisTable() + apisEnd + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(page) {
		t.Errorf("%s is not current: run make docs", path)
	}
	for _, row := range []string{"| [stripe](connectors.md#stripe) | needed | ", "| [mollie](connectors.md#mollie) | needed | ", "| [midtrans](connectors.md#midtrans) | helps | ", "| [lithic](connectors.md#lithic) | | "} {
		if !strings.Contains(want, "\n"+row) {
			t.Errorf("the table has no row that begins with %s", row)
		}
	}
}

// apisTable returns the table of the processors whose APIs are asked.
func apisTable() string {
	var b bytes.Buffer
	b.WriteString("\n| connector | webhooks | keys and rights | requests a second | `gaps` lists | for how long | late for |\n|---|---|---|---|---|---|---|\n")
	for _, name := range verify.Connectors() {
		f, asked := fetch.Lookup(name)
		if !asked {
			continue
		}
		row := []string{fmt.Sprintf("[%s](connectors.md#%[1]s)", name), apiOf(name).column(), keysOfAPI(name), apiRate(f), "", "", ""}
		if l, ok := fetch.ListOf(name); ok {
			row[4], row[5], row[6] = string(l.Kind)+", "+listOf(name).ways(), "no limit published", display.Age(l.Redelivers)
			if l.Retention > 0 {
				row[5] = display.Age(l.Retention)
			}
		}
		for _, cell := range row {
			b.WriteString("| ")
			if cell != "" {
				b.WriteString(strings.ReplaceAll(cell, "|", `\|`) + " ")
			}
		}
		b.WriteString("|\n")
	}
	b.WriteByte('\n')
	return b.String()
}

// keysOfAPI says which keys the uses of an API need.
func keysOfAPI(connector string) string {
	f, _ := fetch.Lookup(connector)
	l, _ := fetch.ListOf(connector)
	check, _ := fetch.EndpointKeys(connector)
	creation, _ := fetch.CreationOf(connector)
	var all []string
	for _, use := range []struct{ name, keys string }{
		{"", f.Keys}, {"`client_id`: ", f.ClientID}, {"`host`: ", f.HostHint}, {"gaps: ", l.Keys}, {"gaps --resend: ", l.ResendKeys}, {"endpoints check: ", check}, {"endpoints create: ", creation.Keys},
	} {
		if use.keys != "" && (use.name == "" || use.keys != f.Keys) {
			all = append(all, use.name+use.keys)
		}
	}
	return strings.Join(all, "<br>")
}

// apiRate says how many requests a second are sent.
func apiRate(f fetch.Connector) string {
	if f.Rate == 0 {
		return fmt.Sprintf("%d; no limit published", fetch.DefaultRate)
	}
	return strconv.FormatFloat(f.Rate, 'g', 3, 64)
}
