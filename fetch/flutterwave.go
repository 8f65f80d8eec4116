package fetch

import (
	"net/http"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// flutterwave verifies a charge of version 3. The webhook is not signed: it has the secret
// itself in a header, so anyone who has seen one webhook can make others. Flutterwave asks
// merchants to compare the reference, the currency and the amount with the API before they
// give value. A webhook whose charge is another one in the API becomes no event. The ids
// of version 4, which is signed, are no numbers, and are not fetched.
//
// Flutterwave publishes no rate limit.
//
// https://developer.flutterwave.com/v3.0/docs/transaction-verification
var flutterwave = Connector{
	Docs:    "https://developer.flutterwave.com/v3.0/docs/transaction-verification",
	Lost:    "the amount, status and reference of webhooks of version 3 are not proved",
	Keys:    "the secret key (FLWSECK-… or FLWSECK_TEST-…); Flutterwave has no read-only ones",
	Hosts:   map[Environment]string{Live: "api.flutterwave.com", Sandbox: "api.flutterwave.com"},
	plan:    flutterwavePlan,
	check:   flutterwaveCheck,
	unknown: flutterwaveUnknown,
}

func flutterwavePlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	id := e.text("data.id")
	if e.text("event") != "charge.completed" || !decimalID.MatchString(id) {
		return nil, nil
	}
	return []Request{{Name: "transaction/" + id, Path: "/v3/transactions/" + segment(id) + "/verify"}}, nil
}

// flutterwaveUnknown reports whether an error says that there is no such transaction: "No
// transaction was found for this id", with the status 400.
func flutterwaveUnknown(status int, body []byte) bool {
	var d object
	return status == http.StatusBadRequest && decode(body, &d) == nil && strings.HasPrefix(d.text("message"), "No transaction")
}

func flutterwaveCheck(w Webhook, _ API, f schemas.Fetched) error {
	var e, d object
	if err := decode(w.Payload, &e); err != nil {
		return err
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	e, d = e.object("data"), d.object("data")
	if err := checkID(f, d.text("id")); err != nil {
		return err
	}
	if err := checkProof(e, d, "tx_ref", "currency"); err != nil {
		return err
	}
	if err := checkAmount("amount", d.text("amount"), e.text("amount")); err != nil {
		return err
	}
	if successful := "successful"; strings.EqualFold(e.text("status"), successful) {
		return checkSame("status", strings.ToLower(d.text("status")), successful)
	}
	return nil
}
