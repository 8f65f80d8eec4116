package soak

import (
	"slices"
	"testing"
)

// run is what was sent, n webhooks of two keys, and all of it found where the
// receipts say.
func run(n int) (sent []webhook, found []record) {
	for i := range n {
		w := webhook{key: []string{"a", "b"}[i%2], topic: "t", acked: true, attempts: 1, status: 200, receipt: place{"t", i % 2, int64(i / 2)}}
		sent, found = append(sent, w), append(found, record{i, w.key, w.receipt})
	}
	return sent, found
}

// TestJudge plants each fault and expects it to be seen, and nothing else.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(sent *[]webhook, found *[]record)
		alone bool
		want  Report // but for Sent, Acked and Details
	}{
		"nothing": {plant: func(*[]webhook, *[]record) {}},
		"a loss":  {plant: func(_ *[]webhook, found *[]record) { *found = slices.Delete(*found, 4, 5) }, want: Report{Lost: 1}},
		"a duplicate": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{4, "a", place{"t", 0, 90}})
		}, want: Report{Dup: 1}},
		"a duplicate in another partition": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{4, "a", place{"t", 1, 90}})
		}, want: Report{Dup: 1}},
		"a webhook never sent": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{10, "a", place{"t", 0, 90}})
		}, want: Report{Phantom: 1}},
		"another key": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].acked, (*found)[4].key = false, "b"
		}, want: Report{Phantom: 1, GivenUp: 1}},
		"another's record": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{-1, "x", place{"t", 0, 90}})
		}, want: Report{Others: 1}},
		"another's record where there are none": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{-1, "x", place{"t", 0, 90}})
		}, alone: true, want: Report{Phantom: 1}},
		"a reorder": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].receipt, (*sent)[6].receipt = (*sent)[6].receipt, (*sent)[4].receipt
			(*found)[4].at, (*found)[6].at = (*found)[6].at, (*found)[4].at
		}, want: Report{Order: 1}},
		"a wrong receipt": {plant: func(sent *[]webhook, _ *[]record) { (*sent)[4].receipt.offset++ }, want: Report{WrongReceipts: 1}},
		"no receipt":      {plant: func(sent *[]webhook, _ *[]record) { (*sent)[4].receipt = place{} }, want: Report{WrongReceipts: 1}},
		"never answered":  {plant: func(sent *[]webhook, _ *[]record) { (*sent)[4].acked = false }, want: Report{GivenUp: 1, UnackedWritten: 1}},
		"never answered and not written": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].acked, *found = false, slices.Delete(*found, 4, 5)
		}, want: Report{GivenUp: 1}},
		"its topic was deleted": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].excused, *found = true, slices.Delete(*found, 4, 5)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sent, found := run(10)
			c.plant(&sent, &found)
			slices.Reverse(found) // how they were read must not matter
			got := judge(sent, found, c.alone)
			c.want.Sent, c.want.Acked = 10, 10-c.want.GivenUp
			wrong := c.want.Lost + c.want.Dup + c.want.Phantom + c.want.Order + c.want.WrongReceipts
			if len(got.Details) != wrong || got.OK() != (wrong == 0) {
				t.Errorf("OK is %v, details are %q, want %d", got.OK(), got.Details, wrong)
			}
			got.Details = nil
			if g, w := got.String(), c.want.String(); g != w {
				t.Errorf("\ngot  %s\nwant %s", g, w)
			}
		})
	}
}

func TestParseReceipt(t *testing.T) {
	for header, want := range map[string]place{
		`"0b0f";topic="p.payment.captured";partition=3;offset=42`:                                                        {"p.payment.captured", 3, 42},
		`"0b0f";topic="payment.captured";partition=0;offset=0, "webhook";topic="webhooks.received";partition=1;offset=7`: {"payment.captured", 0, 0},
		"":                                     {},
		`"0b0f";topic="payment.captured"`:      {},
		`x"0b0f";topic="t";partition=1;offset`: {},
	} {
		if got := parseReceipt(header); got != want {
			t.Errorf("%s: got %v, want %v", header, got, want)
		}
	}
}
