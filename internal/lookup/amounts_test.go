package lookup_test

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestAmounts: the amounts of a payment, from the events that a processor can send.
func TestAmounts(t *testing.T) {
	eur := func(n int64) *schemas.Amount { return &schemas.Amount{Value: n, Currency: "EUR"} }
	usd := func(n int64) *schemas.Amount { return &schemas.Amount{Value: n, Currency: "USD"} }
	type fact struct {
		id, object, corrects       string
		kind                       schemas.Type
		amount, captured, approved *schemas.Amount
		stage                      schemas.Stage
		hour                       int
	}
	const pi, re, du = "pi", "re", "du"
	for name, c := range map[string]struct {
		facts   []fact
		want    []lookup.Amounts
		unclear int // reasons in Unclear
	}{
		"nothing":    {nil, []lookup.Amounts{}, 0},
		"authorised": {[]fact{{id: "1", object: pi, kind: schemas.PaymentAuthorized, amount: eur(100), approved: eur(100)}}, []lookup.Amounts{{Currency: "EUR", Authorized: 100}}, 0},
		"adjusted down": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentAuthorized, approved: eur(100)},
			{id: "2", object: pi, kind: schemas.PaymentAuthorizationAdjusted, approved: eur(80), hour: 1},
		}, []lookup.Amounts{{Currency: "EUR", Authorized: 80}}, 0},
		"the same event twice": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(100), captured: eur(100)},
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(100), captured: eur(100)},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Left: 100}}, 0},
		"corrected twice": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured},
			{id: "2", object: pi, kind: schemas.PaymentCaptured, amount: eur(90), corrects: "1"},
			{id: "3", object: pi, kind: schemas.PaymentCaptured, amount: eur(100), corrects: "1"},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Left: 100}}, 0},
		"captured in parts, with a total": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(40), captured: eur(40)},
			{id: "2", object: pi, kind: schemas.PaymentCaptured, amount: eur(60), captured: eur(100), hour: 1},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Left: 100}}, 0},
		"captured in parts, without a total": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(40), captured: eur(40)},
			{id: "2", object: pi, kind: schemas.PaymentCaptured, amount: eur(60), captured: eur(60)},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Left: 100}}, 1},
		"two payments of one order": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(40)},
			{id: "2", object: "pi2", kind: schemas.PaymentCaptured, amount: eur(60)},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Left: 100}}, 0},
		"captured, then cancelled": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(40)},
			{id: "2", object: pi, kind: schemas.PaymentCancelled, hour: 1},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 40, Left: 40}}, 1},
		"an attempt failed first": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentFailed, amount: eur(40)},
			{id: "2", object: pi, kind: schemas.PaymentCaptured, amount: eur(40), hour: 1},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 40, Left: 40}}, 0},
		"refunds": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(100)},
			{id: "2", object: re, kind: schemas.RefundPending, amount: eur(30)},
			{id: "3", object: re, kind: schemas.RefundSucceeded, amount: eur(30), hour: 1},
			{id: "4", object: "re2", kind: schemas.RefundSucceeded, amount: eur(20)},
			{id: "5", object: "re2", kind: schemas.RefundFailed, amount: eur(20), hour: 2},
			{id: "6", object: "re3", kind: schemas.RefundPending, amount: eur(20)},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Refunded: 30, Left: 70}}, 0},
		"events that came in another order": {[]fact{
			{id: "3", object: re, kind: schemas.RefundFailed, amount: eur(30), hour: 2},
			{id: "2", object: re, kind: schemas.RefundSucceeded, amount: eur(30), hour: 1},
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(100)},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Left: 100}}, 0},
		"a dispute that was won, one that was lost, an inquiry": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(100)},
			{id: "2", object: du, kind: schemas.DisputeOpened, amount: eur(50)},
			{id: "3", object: du, kind: schemas.DisputeWon, hour: 1},
			{id: "4", object: "du2", kind: schemas.DisputeOpened, amount: eur(20)},
			{id: "5", object: "du2", kind: schemas.DisputeLost, hour: 1},
			{id: "6", object: "du3", kind: schemas.DisputeOpened, amount: eur(20), stage: schemas.StagePreDispute},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Disputed: 20, Left: 80}}, 0},
		"reversed": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(100)},
			{id: "2", object: pi, kind: schemas.PaymentReversed, amount: eur(100), hour: 1},
		}, []lookup.Amounts{{Currency: "EUR", Captured: 100, Refunded: 100}}, 0},
		"two currencies": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: usd(100)},
			{id: "2", object: re, kind: schemas.RefundSucceeded, amount: eur(30)},
		}, []lookup.Amounts{{Currency: "EUR", Refunded: 30, Left: -30}, {Currency: "USD", Captured: 100, Left: 100}}, 0},
		"more than an int64": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured, amount: eur(math.MaxInt64)},
			{id: "2", object: "pi2", kind: schemas.PaymentCaptured, amount: eur(math.MaxInt64)},
		}, []lookup.Amounts{{Currency: "EUR", Captured: math.MaxInt64, Left: math.MaxInt64}}, 0},
		"without amounts": {[]fact{
			{id: "1", object: pi, kind: schemas.PaymentCaptured}, {id: "2", object: re, kind: schemas.RefundSucceeded}, {id: "3", object: du, kind: schemas.DisputeOpened},
		}, []lookup.Amounts{{Currency: schemas.NoCurrency}}, 4},
	} {
		items := []*lookup.Item{{}} // a webhook, say
		for n, f := range c.facts {
			e := schemas.Event{ID: f.id, Type: f.kind, Subject: "order", Time: time.Unix(int64(f.hour)*3600, 0), Data: schemas.Data{
				Connector: "stripe", Amount: f.amount, CapturedAmount: f.captured, AuthorizedAmount: f.approved, Stage: f.stage, Corrects: f.corrects, ConnectorTransactionID: pi,
			}}
			switch f.kind.Family() {
			case "payment":
				e.Data.ConnectorTransactionID = f.object
			case "refund":
				e.Data.ConnectorRefundID = f.object
			case "dispute":
				e.Data.ConnectorDisputeID = f.object
			}
			items = append(items, &lookup.Item{Time: time.Unix(int64(n), 0), Event: &e})
		}
		got, unclear := lookup.AmountsOf(items), 0
		for n := range got {
			unclear += len(got[n].Unclear)
			got[n].Unclear = nil
		}
		if !reflect.DeepEqual(got, c.want) || unclear != c.unclear {
			t.Errorf("%s: %+v with %d doubts, want %+v with %d", name, got, unclear, c.want, c.unclear)
		}
	}
}
