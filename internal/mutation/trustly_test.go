package mutation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestTrustlyDebit moves the border between the method and the uuid of a debit
// notification. Debits are answered FAILED as long as the endpoint has no setting for
// its orders. No such mutant may get another answer.
func TestTrustlyDebit(t *testing.T) {
	all := signed(t, "trustly")
	s := all[slices.IndexFunc(all, func(s sample) bool { return s.name == "ignored-debit" })]
	delete(s.keys.Settings, "orders")
	if _, _, reply, verified := s.judge(s.request); !verified || !strings.Contains(reply, "FAILED") {
		t.Fatalf("verified %t, answer %s, want FAILED", verified, reply)
	}
	for _, d := range s.documents {
		at := func(path string) leaf {
			return d.leaves[slices.IndexFunc(d.leaves, func(l leaf) bool { return l.path == path })]
		}
		if d.format != isJSON {
			continue
		}
		method, uuid := at("method"), at("params/uuid")
		text := method.text + uuid.text
		for n := range len(text) + 1 {
			r := d.request(d.edited(edit{method.from, method.to, d.encode(text[:n])}, edit{uuid.from, uuid.to, d.encode(text[n:])}))
			if _, _, reply, verified := s.judge(r); verified != (n == len(method.text)) {
				t.Errorf("method %q and uuid %q: verified %t, answer %s", text[:n], text[n:], verified, reply)
			}
		}
	}
}

// TestTrustlySwallowedNames makes each field of a notification part of the value of the
// field that precedes it in the signed order, and of a shorter name and a longer value.
// Such requests must be refused if events are made from the field.
func TestTrustlySwallowedNames(t *testing.T) {
	read := []string{"amount", "currency", "messageid", "notificationid", "orderid", "accountid", "timestamp", "errorcode", "errormessage", "directdebitmandate"}
	tried := 0
	for _, s := range signed(t, "trustly") {
		if len(s.events) == 0 {
			continue
		}
		for _, d := range s.documents {
			fields := slices.DeleteFunc(slices.Clone(d.leaves), func(l leaf) bool { return !strings.HasPrefix(l.path, "params/data/") })
			slices.SortFunc(fields, func(a, b leaf) int { return strings.Compare(a.path, b.path) })
			for i, l := range fields {
				if !slices.Contains(read, l.name) {
					continue
				}
				refused := func(how string, edits ...edit) {
					tried++
					if _, _, _, verified := s.judge(d.request(d.edited(edits...))); verified {
						t.Errorf("%s: %s: it verifies", s.name, how)
					}
				}
				for n := 1; n < len(l.name); n++ {
					refused("rename "+l.name+" to "+l.name[:n], edit{l.start, l.end, d.member(l.name[:n], l.name[n:]+l.text)})
				}
				if i > 0 && strings.TrimSuffix(fields[i-1].path, fields[i-1].name) == strings.TrimSuffix(l.path, l.name) {
					before, without := fields[i-1], d.without(l)
					if without.from < before.to && before.from < without.to {
						continue
					}
					refused(fmt.Sprintf("%s swallows %s", before.name, l.name), edit{before.from, before.to, d.encode(before.text + l.name + l.text)}, without)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("%d mutants, want at least 100", tried)
	}
}
