package fetch

import (
	"strings"
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
	authorize: authorization("token "),
	check:     checkIDAnd("storeId", "storeId"),
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
