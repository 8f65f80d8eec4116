package soak

import (
	"slices"
	"testing"
)

// run returns n webhooks of two keys, and their records as the receipts say.
func run(n int) (sent []webhook, found []record) {
	for i := range n {
		w := webhook{key: []string{"a", "b"}[i%2], topic: "t", tries: []try{{status: 200}}, receipts: []position{{"t", i % 2, int64(i / 2)}}}
		sent, found = append(sent, w), append(found, record{i, w.key, w.receipts[0]})
	}
	return sent, found
}

// answered adds another answer with 2xx.
func (w *webhook) answered(receipt position) {
	w.tries, w.receipts = append(w.tries, try{status: 200}), append(w.receipts, receipt)
}

// TestJudge: each fault is counted, and nothing else.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(sent *[]webhook, found *[]record)
		alone bool
		want  Report // but for Sent, Acked and Details
	}{
		"nothing": {plant: func(*[]webhook, *[]record) {}},
		"a loss":  {plant: func(_ *[]webhook, found *[]record) { *found = slices.Delete(*found, 4, 5) }, want: Report{Lost: 1}},
		"a duplicate": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{4, "a", position{"t", 0, 90}})
		}, want: Report{Dup: 1}},
		"a duplicate in another partition": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{4, "a", position{"t", 1, 90}})
		}, want: Report{Dup: 1}},
		"a webhook never sent": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{10, "a", position{"t", 0, 90}})
		}, want: Report{Phantom: 1}},
		"another key": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].receipts, (*found)[4].key = nil, "b"
		}, want: Report{Phantom: 1, GivenUp: 1}},
		"another's record": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{-1, "x", position{"t", 0, 90}})
		}, want: Report{Others: 1}},
		"another's record where there are none": {plant: func(_ *[]webhook, found *[]record) {
			*found = append(*found, record{-1, "x", position{"t", 0, 90}})
		}, alone: true, want: Report{Phantom: 1}},
		"a reorder": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].receipts, (*sent)[6].receipts = (*sent)[6].receipts, (*sent)[4].receipts
			(*found)[4].at, (*found)[6].at = (*found)[6].at, (*found)[4].at
		}, want: Report{Order: 1}},
		"a wrong receipt": {plant: func(sent *[]webhook, _ *[]record) { (*sent)[4].receipts[0].offset++ }, want: Report{WrongReceipts: 1}},
		"no receipt":      {plant: func(sent *[]webhook, _ *[]record) { (*sent)[4].receipts[0] = position{} }, want: Report{WrongReceipts: 1}},
		"never answered":  {plant: func(sent *[]webhook, _ *[]record) { (*sent)[4].receipts = nil }, want: Report{GivenUp: 1, UnackedWritten: 1}},
		"never answered and not written": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].receipts, *found = nil, slices.Delete(*found, 4, 5)
		}, want: Report{GivenUp: 1}},
		"its topic was deleted": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].excused, *found = true, slices.Delete(*found, 4, 5)
		}},
		"a redelivery": {plant: func(sent *[]webhook, _ *[]record) {
			(*sent)[4].answered(position{"t", 0, 2})
		}},
		"a redelivery with another receipt": {plant: func(sent *[]webhook, _ *[]record) {
			(*sent)[4].answered(position{"t", 0, 3})
		}, want: Report{WrongReceipts: 1}},
		"a redelivery without a receipt": {plant: func(sent *[]webhook, _ *[]record) {
			(*sent)[4].answered(position{})
		}, want: Report{WrongReceipts: 1}},
		"a redelivery that repeats a wrong receipt": {plant: func(sent *[]webhook, _ *[]record) {
			(*sent)[4].receipts[0].offset = 90
			(*sent)[4].answered(position{"t", 0, 90})
		}, want: Report{WrongReceipts: 1}},
		"a redelivery that is written": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].answered(position{"t", 0, 90})
			*found = append(*found, record{4, "a", position{"t", 0, 90}})
		}, want: Report{Dup: 1}},
		"a redelivery that is never answered": {plant: func(sent *[]webhook, _ *[]record) {
			(*sent)[4].unconfirmed = true
		}, want: Report{Unconfirmed: 1}},
		"twins of which one is written": {plant: func(sent *[]webhook, _ *[]record) {
			(*sent)[4].twin = true
			(*sent)[4].answered(position{"t", 0, 2})
		}, want: Report{Twice: 1}},
		"twins": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].twin = true
			(*sent)[4].answered(position{"t", 0, 90})
			*found = append(*found, record{4, "a", position{"t", 0, 90}})
		}, want: Report{Twice: 1, Twins: 1, Dup: 1}},
		"triplets": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].twin = true
			*found = append(*found, record{4, "a", position{"t", 0, 90}}, record{4, "a", position{"t", 0, 91}})
		}, want: Report{Twice: 1, Twins: 1, Dup: 2}},
		"a lost twin": {plant: func(sent *[]webhook, found *[]record) {
			(*sent)[4].twin, *found = true, slices.Delete(*found, 4, 5)
		}, want: Report{Twice: 1, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			sent, found := run(10)
			c.plant(&sent, &found)
			slices.Reverse(found) // how they were read must not matter
			got := judge(sent, found, c.alone)
			c.want.Sent, c.want.Acked = 10, 10-c.want.GivenUp
			wrong := c.want.Lost + c.want.Dup + c.want.Phantom + c.want.Order + c.want.WrongReceipts + c.want.Unconfirmed
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
	for header, want := range map[string]position{
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
