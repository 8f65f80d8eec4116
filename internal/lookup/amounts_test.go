package lookup_test

import (
	"encoding/base64"
	"math"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
)

// TestAmounts: the amounts of a payment, from the events that a processor can send. What
// its captures report is not known, as with Monnify.
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
				Connector: "monnify", Amount: f.amount, CapturedAmount: f.captured, AuthorizedAmount: f.approved, Stage: f.stage, Corrects: f.corrects, ConnectorTransactionID: pi,
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

// TestAmountsByConnector: a processor sends the amount of each capture or refund, or the
// total so far with each. The webhooks can come in any order.
func TestAmountsByConnector(t *testing.T) {
	for name, c := range map[string]struct {
		connector string
		webhooks  []string
		want      lookup.Amounts
		unsure    bool
	}{
		"total: Stripe, 40 of 100, then the rest": {"stripe", []string{
			`{"id":"evt_1","object":"event","type":"payment_intent.amount_capturable_updated","created":1767225600,"livemode":true,"data":{"object":{"id":"pi_1","object":"payment_intent","amount":100,"amount_capturable":60,"amount_received":40,"currency":"eur","status":"requires_capture","metadata":{"order_id":"order-1"}}}}`,
			`{"id":"evt_2","object":"event","type":"payment_intent.succeeded","created":1767225700,"livemode":true,"data":{"object":{"id":"pi_1","object":"payment_intent","amount":100,"amount_capturable":0,"amount_received":100,"currency":"eur","status":"succeeded","metadata":{"order_id":"order-1"}}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"total: Stripe, by charges": {"stripe", []string{
			`{"id":"evt_1","object":"event","type":"charge.captured","created":1767225600,"livemode":true,"data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_1","amount":100,"amount_captured":40,"captured":true,"currency":"eur","status":"succeeded","metadata":{"order_id":"order-1"}}}}`,
			`{"id":"evt_2","object":"event","type":"charge.captured","created":1767225700,"livemode":true,"data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_1","amount":100,"amount_captured":90,"captured":true,"currency":"eur","status":"succeeded","metadata":{"order_id":"order-1"}}}}`,
		}, lookup.Amounts{Currency: "EUR", Authorized: 100, Captured: 90, Left: 90}, false},
		"total: Checkout.com, the same amount twice": {"checkout", []string{
			`{"id":"evt_1","type":"payment_captured","created_on":"2026-01-01T00:00:00Z","data":{"id":"pay_1","action_id":"act_1","reference":"order-1","amount":50,"currency":"EUR","response_code":"10000","balances":{"total_authorized":120,"total_captured":50}}}`,
			`{"id":"evt_2","type":"payment_captured","created_on":"2026-01-01T00:01:00Z","data":{"id":"pay_1","action_id":"act_2","reference":"order-1","amount":50,"currency":"EUR","response_code":"10000","balances":{"total_authorized":120,"total_captured":100}}}`,
		}, lookup.Amounts{Currency: "EUR", Authorized: 120, Captured: 100, Left: 100}, false},
		"total: Checkout.com, without balances": {"checkout", []string{
			`{"id":"evt_1","type":"payment_captured","created_on":"2026-01-01T00:00:00Z","data":{"id":"pay_1","action_id":"act_1","reference":"order-1","amount":40,"currency":"EUR","response_code":"10000"}}`,
			`{"id":"evt_2","type":"payment_captured","created_on":"2026-01-01T00:01:00Z","data":{"id":"pay_1","action_id":"act_2","reference":"order-1","amount":60,"currency":"EUR","response_code":"10000"}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"total: Quickpay": {"quickpay", []string{
			`{"id":7,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":40,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"}]}`,
			`{"id":7,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":40,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"},{"id":2,"type":"capture","amount":60,"qp_status_code":"20000","created_at":"2026-01-01T00:01:00Z"}]}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"total: Square, an invoice paid in parts": {"square", []string{
			`{"merchant_id":"M","type":"invoice.payment_made","event_id":"e1","created_at":"2026-01-01T00:00:00Z","data":{"type":"invoice","id":"inv:1","object":{"invoice":{"id":"inv:1","invoice_number":"order-1","order_id":"O1","status":"PARTIALLY_PAID","payment_requests":[{"total_completed_amount_money":{"amount":40,"currency":"EUR"}}]}}}}`,
			`{"merchant_id":"M","type":"invoice.payment_made","event_id":"e2","created_at":"2026-01-01T00:01:00Z","data":{"type":"invoice","id":"inv:1","object":{"invoice":{"id":"inv:1","invoice_number":"order-1","order_id":"O1","status":"PAID","payment_requests":[{"total_completed_amount_money":{"amount":100,"currency":"EUR"}}]}}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"parts: Adyen": {"adyen", []string{
			`{"live":"true","notificationItems":[{"NotificationRequestItem":{"amount":{"currency":"EUR","value":40},"eventCode":"CAPTURE","eventDate":"2026-01-01T00:00:00+00:00","merchantAccountCode":"Shop","merchantReference":"order-1","originalReference":"P1","paymentMethod":"visa","pspReference":"C1","success":"true"}}]}`,
			`{"live":"true","notificationItems":[{"NotificationRequestItem":{"amount":{"currency":"EUR","value":60},"eventCode":"CAPTURE","eventDate":"2026-01-01T00:01:00+00:00","merchantAccountCode":"Shop","merchantReference":"order-1","originalReference":"P1","paymentMethod":"visa","pspReference":"C2","success":"true"}}]}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"total: Mollie, 40 and 60 of 100, each reported by payment.paid": {"mollie", []string{
			`{"resource":"event","id":"event_1","type":"payment.paid","entityId":"tr_1","createdAt":"2026-01-01T00:00:00Z","_embedded":{"entity":{"id":"tr_1","mode":"live","status":"paid","amount":{"value":"1.00","currency":"EUR"},"amountCaptured":{"value":"0.40","currency":"EUR"},"captureMode":"manual","metadata":{"order_id":"order-1"}}}}`,
			`{"resource":"event","id":"event_2","type":"payment.paid","entityId":"tr_1","createdAt":"2026-01-01T00:01:00Z","_embedded":{"entity":{"id":"tr_1","mode":"live","status":"paid","amount":{"value":"1.00","currency":"EUR"},"amountCaptured":{"value":"1.00","currency":"EUR"},"captureMode":"manual","metadata":{"order_id":"order-1"}}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"parts beside a total: Mollie, each capture, then payment.paid": {"mollie", []string{
			`{"resource":"event","id":"event_1","type":"capture.succeeded","entityId":"cpt_1","createdAt":"2026-01-01T00:00:00Z","_embedded":{"entity":{"id":"cpt_1","mode":"live","status":"succeeded","paymentId":"tr_1","amount":{"value":"0.40","currency":"EUR"}}}}`,
			`{"resource":"event","id":"event_2","type":"capture.succeeded","entityId":"cpt_2","createdAt":"2026-01-01T00:01:00Z","_embedded":{"entity":{"id":"cpt_2","mode":"live","status":"succeeded","paymentId":"tr_1","amount":{"value":"0.60","currency":"EUR"}}}}`,
			`{"resource":"event","id":"event_3","type":"payment.paid","entityId":"tr_1","createdAt":"2026-01-01T00:02:00Z","_embedded":{"entity":{"id":"tr_1","mode":"live","status":"paid","amount":{"value":"1.00","currency":"EUR"},"amountCaptured":{"value":"1.00","currency":"EUR"},"captureMode":"manual"}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"parts: Mollie, a link that was paid twice": {"mollie", []string{
			`{"resource":"event","id":"event_1","type":"payment-link.paid","entityId":"pl_1","createdAt":"2026-01-01T00:00:00Z","_embedded":{"entity":{"id":"pl_1","mode":"live","amount":{"value":"0.50","currency":"EUR"},"reusable":true}}}`,
			`{"resource":"event","id":"event_2","type":"payment-link.paid","entityId":"pl_1","createdAt":"2026-01-01T00:01:00Z","_embedded":{"entity":{"id":"pl_1","mode":"live","amount":{"value":"0.50","currency":"EUR"},"reusable":true}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Left: 100}, false},
		"refunds with ids: Mollie": {"mollie", []string{
			`{"resource":"event","id":"event_1","type":"payment.paid","entityId":"tr_1","createdAt":"2026-01-01T00:00:00Z","_embedded":{"entity":{"id":"tr_1","mode":"live","status":"paid","amount":{"value":"1.00","currency":"EUR"}}}}`,
			`{"resource":"event","id":"event_2","type":"refund.refunded","entityId":"re_1","createdAt":"2026-01-01T00:01:00Z","_embedded":{"entity":{"id":"re_1","mode":"live","status":"refunded","paymentId":"tr_1","amount":{"value":"0.20","currency":"EUR"}}}}`,
			`{"resource":"event","id":"event_3","type":"refund.refunded","entityId":"re_2","createdAt":"2026-01-01T00:02:00Z","_embedded":{"entity":{"id":"re_2","mode":"live","status":"refunded","paymentId":"tr_1","amount":{"value":"0.20","currency":"EUR"}}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Refunded: 40, Left: 60}, false},
		"parts: Shopify, two captures and two refunds": {"shopify", []string{
			`{"id":1,"order_id":9,"kind":"capture","gateway":"x","status":"success","amount":"0.40","currency":"EUR","processed_at":"2026-01-01T00:00:00Z","test":false}`,
			`{"id":2,"order_id":9,"kind":"capture","gateway":"x","status":"success","amount":"0.60","currency":"EUR","processed_at":"2026-01-01T00:01:00Z","test":false}`,
			`{"id":5,"order_id":9,"refund_line_items":[],"transactions":[{"id":3,"order_id":9,"kind":"refund","gateway":"x","status":"success","amount":"0.20","currency":"EUR","processed_at":"2026-01-01T00:02:00Z","test":false}]}`,
			`{"id":4,"order_id":9,"kind":"refund","gateway":"x","status":"success","amount":"0.20","currency":"EUR","processed_at":"2026-01-01T00:03:00Z","test":false}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Refunded: 40, Left: 60}, false},
		"parts: Shopify, two sales, a refund in two transactions": {"shopify", []string{
			`{"id":1,"order_id":9,"kind":"sale","gateway":"gift_card","status":"success","amount":"0.30","currency":"EUR","processed_at":"2026-01-01T00:00:00Z","test":false}`,
			`{"id":2,"order_id":9,"kind":"sale","gateway":"x","status":"success","amount":"0.70","currency":"EUR","processed_at":"2026-01-01T00:00:00Z","test":false}`,
			`{"id":5,"order_id":9,"refund_line_items":[],"transactions":[{"id":3,"order_id":9,"kind":"refund","gateway":"gift_card","status":"success","amount":"0.30","currency":"EUR","processed_at":"2026-01-01T00:02:00Z","test":false},{"id":4,"order_id":9,"kind":"refund","gateway":"x","status":"success","amount":"0.10","currency":"EUR","processed_at":"2026-01-01T00:02:00Z","test":false}]}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Refunded: 40, Left: 60}, false},
		"a total beside parts: Shopify, orders and transactions": {"shopify", []string{
			`{"id":1,"order_id":9,"kind":"sale","gateway":"x","status":"success","amount":"1.00","currency":"EUR","processed_at":"2026-01-01T00:00:00Z","test":false}`,
			`{"id":9,"financial_status":"paid","total_price":"1.00","currency":"EUR","updated_at":"2026-01-01T00:00:00Z","test":false}`,
		}, lookup.Amounts{Currency: "EUR", Authorized: 100, Captured: 100, Left: 100}, false},
		"total: Worldline Connect, 40 and 60, then 20 and 20 back": {"worldline-connect", []string{
			`{"id":"e1","type":"payment.captured","created":"2026-01-01T00:00:00Z","merchantId":"1","payment":{"id":"p1","status":"CAPTURED","paymentOutput":{"amountOfMoney":{"amount":100,"currencyCode":"EUR"},"amountCaptured":40,"amountPaid":0,"references":{"merchantReference":"order-1"}}}}`,
			`{"id":"e2","type":"payment.captured","created":"2026-01-01T00:01:00Z","merchantId":"1","payment":{"id":"p1","status":"CAPTURED","paymentOutput":{"amountOfMoney":{"amount":100,"currencyCode":"EUR"},"amountCaptured":100,"amountPaid":40,"references":{"merchantReference":"order-1"}}}}`,
			`{"id":"e3","type":"payment.refunded","created":"2026-01-01T00:02:00Z","merchantId":"1","payment":{"id":"p1","status":"REFUNDED","paymentOutput":{"amountOfMoney":{"amount":100,"currencyCode":"EUR"},"amountCaptured":100,"amountRefunded":20,"references":{"merchantReference":"order-1"}}}}`,
			`{"id":"e4","type":"payment.refunded","created":"2026-01-01T00:03:00Z","merchantId":"1","payment":{"id":"p1","status":"REFUNDED","paymentOutput":{"amountOfMoney":{"amount":100,"currencyCode":"EUR"},"amountCaptured":100,"amountRefunded":40,"references":{"merchantReference":"order-1"}}}}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Refunded: 40, Left: 60}, false},
		"not known: refunds of LiqPay": {"liqpay", []string{
			liqpay(`{"payment_id":7,"action":"pay","status":"success","public_key":"i1","order_id":"order-1","amount":1,"currency":"UAH","end_date":1767225600000}`),
			liqpay(`{"payment_id":7,"action":"refund","status":"reversed","public_key":"i1","order_id":"order-1","amount":1,"currency":"UAH","refund_amount":0.2,"refund_date_last":"2026-01-02"}`),
			liqpay(`{"payment_id":7,"action":"refund","status":"reversed","public_key":"i1","order_id":"order-1","amount":1,"currency":"UAH","refund_amount":0.4,"refund_date_last":"2026-01-03"}`),
		}, lookup.Amounts{Currency: "UAH", Captured: 100, Refunded: 60, Left: 40}, true},
		"parts: refunds of Stripe, by charges": {"stripe", []string{
			`{"id":"evt_1","object":"event","api_version":"2023-10-16","type":"charge.captured","created":1767225600,"livemode":true,"data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_1","amount":100,"amount_captured":40,"captured":true,"currency":"eur","status":"succeeded","payment_method_details":{"card":{"multicapture":{"status":"available"}}}},"previous_attributes":{"amount_captured":0}}}`,
			`{"id":"evt_2","object":"event","api_version":"2023-10-16","type":"charge.captured","created":1767225700,"livemode":true,"data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_1","amount":100,"amount_captured":100,"captured":true,"currency":"eur","status":"succeeded"},"previous_attributes":{"amount_captured":40}}}`,
			`{"id":"evt_3","object":"event","api_version":"2023-10-16","type":"charge.refunded","created":1767225800,"livemode":true,"data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_1","amount":100,"amount_captured":100,"amount_refunded":20,"captured":true,"currency":"eur","status":"succeeded"},"previous_attributes":{"amount_refunded":0}}}`,
			`{"id":"evt_4","object":"event","api_version":"2023-10-16","type":"charge.refunded","created":1767225900,"livemode":true,"data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_1","amount":100,"amount_captured":100,"amount_refunded":40,"captured":true,"currency":"eur","status":"succeeded"},"previous_attributes":{"amount_refunded":20}}}`,
		}, lookup.Amounts{Currency: "EUR", Authorized: 100, Captured: 100, Refunded: 40, Left: 60}, false},
		"refunds with ids: Quickpay, two payments of an order": {"quickpay", []string{
			`{"id":7,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":100,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"}]}`,
			`{"id":7,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":100,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"},{"id":2,"type":"refund","amount":20,"qp_status_code":"20000","created_at":"2026-01-01T00:01:00Z"}]}`,
			`{"id":7,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":100,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"},{"id":2,"type":"refund","amount":20,"qp_status_code":"20000","created_at":"2026-01-01T00:01:00Z"},{"id":3,"type":"refund","amount":20,"qp_status_code":"20000","created_at":"2026-01-01T00:02:00Z"}]}`,
			`{"id":8,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":50,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"},{"id":2,"type":"refund","amount":10,"qp_status_code":"20000","created_at":"2026-01-01T00:01:00Z"}]}`,
			`{"id":8,"merchant_id":1,"order_id":"order-1","type":"Payment","test_mode":false,"currency":"EUR","operations":[{"id":1,"type":"capture","amount":50,"qp_status_code":"20000","created_at":"2026-01-01T00:00:00Z"}]}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 150, Refunded: 50, Left: 100}, false},
		"total: Xendit, two captures of version 2": {"xendit", []string{
			`{"event":"capture.succeeded","business_id":"b","created":"2026-01-01T00:00:00Z","data":{"id":"cptr-1","payment_id":"py-1","payment_request_id":"pr-1","reference_id":"order-1","currency":"USD","authorized_amount":1,"captured_amount":0.4,"capturable_amount":0.6,"status":"SUCCEEDED"}}`,
			`{"event":"capture.succeeded","business_id":"b","created":"2026-01-01T00:01:00Z","data":{"id":"cptr-2","payment_id":"py-1","payment_request_id":"pr-1","reference_id":"order-1","currency":"USD","authorized_amount":1,"captured_amount":0.6,"capturable_amount":0,"status":"SUCCEEDED"}}`,
		}, lookup.Amounts{Currency: "USD", Captured: 100, Left: 100}, false},
		"not known: Monnify, a transaction paid in parts": {"monnify", []string{
			`{"eventType":"SUCCESSFUL_TRANSACTION","eventData":{"transactionReference":"T1","paymentReference":"order-1","paymentStatus":"PARTIALLY_PAID","amountPaid":"0.40","paidOn":"01/01/2026 1:00:00 AM"}}`,
			`{"eventType":"SUCCESSFUL_TRANSACTION","eventData":{"transactionReference":"T1","paymentReference":"order-1","paymentStatus":"PAID","amountPaid":"0.60","paidOn":"01/01/2026 2:00:00 AM"}}`,
		}, lookup.Amounts{Currency: "NGN", Captured: 100, Left: 100}, true},
		"no amount: refunds of PortOne, without the API": {"portone", []string{
			`{"type":"Transaction.PartialCancelled","timestamp":"2026-01-02T00:00:00Z","data":{"storeId":"s","paymentId":"order-1","transactionId":"t1","cancellationId":"c1","totalAmount":100}}`,
		}, lookup.Amounts{Currency: schemas.NoCurrency}, true},
		"total: refunds of MultiSafepay": {"multisafepay", []string{
			`{"order_id":"order-1","transaction_id":5,"status":"completed","financial_status":"completed","amount":100,"amount_refunded":0,"currency":"EUR"}`,
			`{"order_id":"order-1","transaction_id":5,"status":"partial_refunded","financial_status":"completed","amount":100,"amount_refunded":20,"currency":"EUR"}`,
			`{"order_id":"order-1","transaction_id":5,"status":"partial_refunded","financial_status":"completed","amount":100,"amount_refunded":50,"currency":"EUR"}`,
		}, lookup.Amounts{Currency: "EUR", Captured: 100, Refunded: 50, Left: 50}, false},
	} {
		var items []*lookup.Item
		for _, payload := range c.webhooks {
			o := normalize.Options{Live: true, ReceivedAt: time.Unix(1767225600, 0)}
			if c.connector == "square" {
				o.Settings = map[string]string{"tells": "invoices"}
			}
			r, err := normalize.Normalize(c.connector, []byte(payload), o)
			if err != nil || len(r.Events) == 0 {
				t.Fatalf("%s: %v, %+v, want an event from %s", name, err, r, payload)
			}
			for n := range r.Events {
				items = append(items, &lookup.Item{Event: &r.Events[n]})
			}
		}
		for _, order := range []string{"as sent", "reversed"} {
			got := lookup.AmountsOf(items)
			if len(got) != 1 || (got[0].Unclear != nil) != c.unsure {
				t.Errorf("%s, %s: %+v, want one currency, and a doubt: %t", name, order, got, c.unsure)
				continue
			}
			if got[0].Unclear = nil; !reflect.DeepEqual(got[0], c.want) {
				t.Errorf("%s, %s: %+v, want %+v", name, order, got[0], c.want)
			}
			slices.Reverse(items)
		}
	}
}

// liqpay returns a callback of LiqPay's with the data.
func liqpay(data string) string {
	return url.Values{"data": {base64.StdEncoding.EncodeToString([]byte(data))}}.Encode()
}
