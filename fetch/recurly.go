package fetch

import (
	"net/http"
)

// recurly fetches the transaction or the invoice of an event. A sandbox is a site of its
// own, with keys of its own on the same host.
//
// Recurly allows 1,000 GET requests a minute, and 400 in a sandbox.
//
// https://recurly.com/developers/api/v2021-02-25/index.html#operation/get_transaction
// https://docs.recurly.com/recurly-subscriptions/v2021-02-25/reference/getting-started-v2021-02-25
// https://github.com/recurly/recurly-client-go, openapi/api.yaml
var recurly = Connector{
	Docs:       "https://recurly.com/developers/api/v2021-02-25/index.html#operation/get_transaction",
	Lost:       "events have no amount and no merchant's id, and refunds do not name their payment",
	Must:       true,
	Keys:       "a private API key: Integrations, API Credentials; Recurly has no read-only ones",
	Hosts:      map[Environment]string{Live: "v3.recurly.com", Sandbox: "v3.recurly.com"},
	OtherHosts: []string{"v3.eu.recurly.com"},
	Rate:       400. / 60 / 2,
	plan:       recurlyPlan,
	authorize:  basicUser,
	check:      checkIDAt("id"),
}

// recurlyAccept selects the version of the API: Recurly refuses requests without it.
const recurlyAccept = "application/vnd.recurly.v2021-02-25"

// recurlyTypes are the event types that become events of ours, by object type.
var recurlyTypes = map[string]map[string]bool{
	"payment":        {"scheduled": true, "processing": true, "authorized": true, "succeeded": true, "success": true, "failed": true, "voided": true, "refunded": true},
	"charge_invoice": {"processing": true, "past_due": true, "paid": true, "failed": true},
}

// recurlyBothReport are the events that another object reports, too: the setting tells
// selects one of the two.
var recurlyBothReport = map[string]bool{"scheduled": true, "processing": true, "succeeded": true, "success": true, "failed": true}

func recurlyPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	object, event, id := e.text("object_type"), e.text("event_type"), e.text("id")
	invoices := w.Settings["tells"] == "invoices"
	switch {
	case !recurlyTypes[object][event] || !opaqueID.MatchString(id):
		return nil, nil
	case object == "payment" && (!invoices || !recurlyBothReport[event]):
		return []Request{recurlyRequest("transaction/"+id, "/transactions/"+segment(id))}, nil
	case object == "charge_invoice" && invoices:
		return []Request{recurlyRequest("invoice/"+id, "/invoices/"+segment(id))}, nil
	}
	return nil, nil
}

func recurlyRequest(name, path string) Request {
	return Request{Name: name, Path: path, Header: http.Header{"Accept": {recurlyAccept}}}
}
