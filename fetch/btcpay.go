package fetch

import (
	"net/http"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// btcpay fetches the invoice of an event. Each merchant has a server of its own, which can
// be slow. Payouts are not fetched: the server shows them only to keys that can also
// approve them.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Invoices_GetInvoice
var btcpay = Connector{
	Docs:      "https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Invoices_GetInvoice",
	Lost:      "payments have no amount, and only some have the order's id",
	Must:      true,
	Keys:      "an API key of the store with btcpay.store.canviewinvoices alone: Account, API keys",
	HostHint:  "btcpay.example.com, the host of the BTCPay Server",
	plan:      btcpayPlan,
	authorize: btcpayAuthorize,
	check:     btcpayCheck,
}

func btcpayPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	typ, store, invoice := e.text("type"), e.text("storeId"), e.text("invoiceId")
	// The ids in the test deliveries of BTCPay Server have __test__ in them.
	if !strings.HasPrefix(typ, "Invoice") || typ == "InvoiceCreated" || strings.Contains(invoice, "__test__") ||
		!opaqueID.MatchString(store) || !opaqueID.MatchString(invoice) {
		return nil, nil
	}
	return []Request{{Name: "invoice/" + invoice, Path: "/api/v1/stores/" + segment(store) + "/invoices/" + segment(invoice)}}, nil
}

func btcpayAuthorize(r *http.Request, _ API, key Key, _ time.Time) error {
	r.Header.Set("Authorization", "token "+key.Value)
	return nil
}

func btcpayCheck(w Webhook, _ API, f schemas.Fetched) error {
	var e, d object
	if err := decode(w.Payload, &e); err != nil {
		return err
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	if err := checkID(f, d.text("id")); err != nil {
		return err
	}
	return checkSame("storeId", d.text("storeId"), e.text("storeId"))
}
