package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
)

// explained returns what explain --json prints, without receipts and times.
func explained(t *testing.T, out string) (all []string) {
	t.Helper()
	type explanation struct {
		EventID, Key string
		Identity     lookup.Identity
		ID           string `json:"event_id"`
		Published    []lookup.Found
		Webhooks     []lookup.Found
	}
	for _, x := range jsonLines[explanation](t, out) {
		says := fmt.Sprintf("%s under %s, published %d", x.ID, x.Key, len(x.Published))
		for _, w := range x.Webhooks {
			says += ", " + w.Outcome
		}
		by := "unknown"
		switch x.Identity {
		case lookup.IdentityFromProcessor:
			by = "processor"
		case lookup.IdentityFromDigest:
			by = "digest"
		}
		all = append(all, says+", by "+by)
	}
	return all
}

// TestExplain: an event and all webhooks that gave it are found, by the event's id and
// by the request, whichever keys the records have.
func TestExplain(t *testing.T) {
	b := startBridge(t)
	dispute := b.send(t, disputed("7")) // has the fallback key: no reference is known yet
	capture := b.send(t, paid("7", 0))
	b.send(t, paid("7", 0))
	b.send(t, paid("other", 0))
	b.send(t, []byte(strings.ReplaceAll(string(disputed("7")), "evt_d_7", "evt_again"))) // another of the processor's events for the same fact
	b.send(t, disputed("7"))
	want := []string{capture + " under 7, published 1, events, duplicate, by processor"}
	for _, args := range [][]string{{capture}, {capture, "--scan"}, {capture, "--all"}} {
		if got := explained(t, b.run(t, 0, append([]string{"dedupe", "explain", "--json"}, args...)...)); !slices.Equal(got, want) {
			t.Errorf("explain %s: %q, want %q", args, got, want)
		}
	}
	want[0] = dispute + " under stripe::pi_7, published 1, events, duplicate, duplicate, by processor"
	if got := explained(t, b.run(t, 0, "dedupe", "explain", "--json", dispute)); !slices.Equal(got, want) {
		t.Errorf("explain the dispute: %q, want %q", got, want)
	}

	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, paid("7", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := sign.Request("stripe", paid("7", 0), b.secret, nil, b.url, time.Unix(1767225600, 0)) // signed long ago
	if err != nil {
		t.Fatal(err)
	}
	want[0] = capture + " under 7, published 1, events, duplicate, by processor"
	for _, args := range [][]string{{"--payload", file}, {"--header", "Stripe-Signature: " + r.Header.Get("Stripe-Signature"), file}} {
		if got := explained(t, b.run(t, 0, append([]string{"dedupe", "explain", "--json", "--connector", "stripe"}, args...)...)); !slices.Equal(got, want) {
			t.Errorf("explain %s: %q, want %q", args, got, want)
		}
	}
	out := b.run(t, 0, "dedupe", "explain", capture)
	for _, says := range []string{"payment.captured of 7\n", "what the processor repeats", "shop.payment.captured[", "webhook: events ", "webhook: duplicate "} {
		if !strings.Contains(out, says) {
			t.Errorf("explain does not print %q: %s", says, out)
		}
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "expected an event's id, or --connector", []string{"7"}},
		{2, "endpoint stripe/other is not in the configuration", []string{"--connector", "stripe", "--endpoint", "other", file}},
		{1, "signature missing", []string{"--connector", "stripe", file}},
		{1, "nothing is known of", []string{"00000000-0000-5000-8000-000000000000"}},
	} {
		got := tollbridge(t, "", append([]string{"dedupe", "explain", "--config", b.config}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.err, c.says) {
			t.Errorf("explain %s: exit %d, %s, want %d and %q", c.args, got.code, got.err, c.code, c.says)
		}
	}
}

// TestExplainDigest: if the processor gives no id for a fact, the body's digest
// identifies it.
func TestExplainDigest(t *testing.T) {
	b := startBridge(t)
	payload, err := samples.Payload("razorpay", "payment.dispute.created")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		t.Fatal(err)
	}
	got := explained(t, b.run(t, 0, "dedupe", "explain", "--json", "--connector", "razorpay", "--payload", file))
	if len(got) != 1 || !strings.HasSuffix(got[0], "published 0, by digest") {
		t.Errorf("explain: %q, want one event that is identified by digest and was never published", got)
	}
}

// TestReferencesCommand: a reference is found by its key, by the processor's id and by
// the merchant's id, and the list has all references.
func TestReferencesCommand(t *testing.T) {
	b := startBridge(t)
	capture := b.send(t, paid("7", 0))
	b.send(t, paid("8", 0))
	b.send(t, disputed("7"))
	get := func(args ...string) (all []lookup.Reference) {
		t.Helper()
		out := b.run(t, 0, append([]string{"references"}, args...)...)
		for line := range strings.Lines(out) {
			var r lookup.Reference
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			all = append(all, r)
		}
		return all
	}
	until(t, "the four references to be written", func() bool { return len(get("list", "--json")) == 4 })
	for _, id := range []string{"stripe::pi_7", "pi_7"} {
		all := get("get", id, "--json")
		if len(all) != 1 || all[0].Key != "stripe::pi_7" || all[0].MerchantTransactionID != "7" || all[0].EventID != capture || time.Since(all[0].Since) > time.Hour {
			t.Errorf("references get %s: %+v, want the reference of 7 from event %s", id, all, capture)
		}
	}
	for args, want := range map[string]string{
		"get 7":                             "stripe::ch_7 stripe::dispute:du_7 stripe::pi_7",
		"get du_7":                          "stripe::dispute:du_7",
		"list":                              "stripe::ch_7 stripe::dispute:du_7 stripe::pi_7 stripe::pi_8",
		"list --connector stripe":           "stripe::ch_7 stripe::dispute:du_7 stripe::pi_7 stripe::pi_8",
		"list --connector adyen":            "",
		"list --key-prefix stripe::dispute": "stripe::dispute:du_7",
	} {
		var keys []string
		for _, r := range get(append(strings.Fields(args), "--json")...) {
			keys = append(keys, r.Key)
		}
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("references %s: %s, want %s", args, got, want)
		}
	}
	if out := b.run(t, 0, "references", "get", "pi_7"); !strings.Contains(out, "stripe::pi_7  7  ") || !strings.Contains(out, capture) {
		t.Errorf("references get prints %q", out)
	}
	for args, want := range map[string]string{"get nobody": `"nobody" is in no reference`, "get stripe::nobody": "is in no reference"} {
		got := tollbridge(t, "", append(append([]string{"references"}, strings.Fields(args)...), "--config", b.config)...)
		if got.code != 1 || !strings.Contains(got.err, want) {
			t.Errorf("references %s: exit %d, %s", args, got.code, got.err)
		}
	}
}
