package fetch

import (
	"fmt"
	"net/http"
	"slices"
	"unicode"

	"github.com/tollbridge/tollbridge/schemas"
)

// midtrans asks for the status of a notification's transaction. The signature does not
// cover transaction_status, the refunds and their amounts. The API must know the order with
// the same amount, in the state that the notification claims or in one that can follow it,
// and with each refund. A notification that claims something else becomes no event.
//
// An order that does not exist gives the status 200 with "status_code": "404".
//
// Midtrans publishes no rate limit.
//
// https://docs.midtrans.com/reference/get-transaction-status
// https://docs.midtrans.com/docs/get-status-api-requests
var midtrans = Connector{
	Docs:      "https://docs.midtrans.com/reference/get-transaction-status",
	Lost:      "the transaction_status and the amounts of refunds are not proved",
	Keys:      "the server key; Midtrans has no read-only ones",
	Hosts:     map[Environment]string{Live: "api.midtrans.com", Sandbox: "api.sandbox.midtrans.com"},
	plan:      midtransPlan,
	authorize: basicUser,
	check:     midtransCheck,
	unknown: func(status int, body []byte) bool {
		var d object
		return status == http.StatusOK && decode(body, &d) == nil && d.text("status_code") == "404"
	},
}

// midtransRefuted maps a claimed transaction_status to the statuses of the API that
// refute it. A status that is not listed can be a later one.
var midtransRefuted = map[string][]string{
	"capture":            {"pending", "deny", "expire", "failure"},
	"settlement":         {"pending", "deny", "expire", "failure", "cancel"},
	"refund":             {"pending", "authorize", "capture", "settlement", "deny", "expire", "failure", "cancel"},
	"partial_refund":     {"pending", "authorize", "capture", "settlement", "deny", "expire", "failure", "cancel"},
	"chargeback":         {"pending", "authorize", "capture", "settlement", "deny", "expire", "failure", "cancel"},
	"partial_chargeback": {"pending", "authorize", "capture", "settlement", "deny", "expire", "failure", "cancel"},
}

func midtransPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	id := e.text("order_id") // signed, unlike transaction_id
	if e.text("transaction_status") == "" || id == "" || len(id) > 256 || slices.ContainsFunc([]rune(id), unicode.IsControl) {
		return nil, nil
	}
	return []Request{{Name: "status/" + id, Path: "/v2/" + segment(id) + "/status"}}, nil
}

func midtransCheck(w Webhook, _ API, f schemas.Fetched) error {
	var e, d object
	if err := decode(w.Payload, &e); err != nil {
		return err
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	if err := checkID(f, d.text("order_id")); err != nil {
		return err
	}
	if err := checkAmount("gross_amount", d.text("gross_amount"), e.text("gross_amount")); err != nil {
		return err
	}
	claimed, is := e.text("transaction_status"), d.text("transaction_status")
	if slices.Contains(midtransRefuted[claimed], is) {
		return fmt.Errorf("%w: the webhook claims the transaction_status %q, and the API has %q", ErrAccount, claimed, is)
	}
	known := d.objects("refunds")
	for _, r := range e.objects("refunds") {
		id := r.text("refund_chargeback_id")
		i := slices.IndexFunc(known, func(k object) bool { return k.text("refund_chargeback_id") == id })
		if i < 0 {
			return fmt.Errorf("%w: the webhook claims the refund %q, which the API does not have", ErrAccount, id)
		}
		if err := checkAmount("refund_amount", known[i].text("refund_amount"), r.text("refund_amount")); err != nil {
			return err
		}
	}
	return nil
}
