package fetch

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// xendit asks for the payment or the invoice of a webhook. Nothing in a webhook is signed:
// it has the secret itself in a header, so anyone who has seen one webhook can make others.
// A webhook that claims another amount, currency or reference than the API has, or a
// success that the API does not know, becomes no event.
//
// Xendit allows 600 requests a minute for one kind of request, and 60 in test mode.
//
// https://docs.xendit.co/apidocs/get-payment
// https://docs.xendit.co/apidocs/rate-limits
var xendit = Connector{
	Docs:      "https://docs.xendit.co/apidocs/get-payment",
	Lost:      "the amount, status and reference of payments and invoices are not proved",
	Keys:      "a secret API key with Money-in: Read alone",
	Hosts:     map[Environment]string{Live: "api.xendit.co", Sandbox: "api.xendit.co"},
	Rate:      600. / 60 / 2,
	plan:      xenditPlan,
	authorize: basicUser,
	check:     xenditCheck,
}

var (
	xenditPaymentID = regexp.MustCompile(`^py-[A-Za-z0-9-]{1,64}$`)
	xenditInvoiceID = regexp.MustCompile(`^[0-9a-f]{24}$`)
)

func xenditPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	if id := e.text("data.payment_id"); strings.HasPrefix(e.text("event"), "payment.") && xenditPaymentID.MatchString(id) {
		return []Request{{Name: "payment/" + id, Path: "/v3/payments/" + segment(id), Header: http.Header{"Api-Version": {"2024-11-11"}}}}, nil
	}
	if id := e.text("id"); e.text("event") == "" && e.text("external_id") != "" && e.text("status") != "" && e.text("user_id") != "" && xenditInvoiceID.MatchString(id) {
		return []Request{{Name: "invoice/" + id, Path: "/v2/invoices/" + segment(id)}}, nil
	}
	return nil, nil
}

// xenditSucceeded are the statuses of a success, for which the merchant gives value.
var xenditSucceeded = map[string]bool{"SUCCEEDED": true, "PAID": true, "SETTLED": true}

func xenditCheck(w Webhook, _ API, f schemas.Fetched) error {
	var e, d object
	if err := decode(w.Payload, &e); err != nil {
		return err
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	amount := "amount"
	if strings.HasPrefix(f.Name, "payment/") {
		e, amount = e.object("data"), "request_amount"
		if err := checkID(f, d.text("payment_id")); err != nil {
			return err
		}
	} else if err := checkID(f, d.text("id")); err != nil {
		return err
	}
	if err := checkProof(e, d, "reference_id", "external_id", "currency"); err != nil {
		return err
	}
	if err := checkAmount(amount, d.text(amount), e.text(amount)); err != nil {
		return err
	}
	if xenditSucceeded[e.text("status")] && !xenditSucceeded[d.text("status")] {
		return checkProof(e, d, "status")
	}
	return nil
}
