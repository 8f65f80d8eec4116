package normalize

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// btcpay reads one event for each webhook, {"type", "originalDeliveryId", "timestamp",
// "storeId"} and the id of an invoice or a payout. Each webhook that a store has
// configured gets its own delivery ids. The identity is therefore the invoice and the
// event, or the payout and its state; for a transfer that pays a part of an invoice, it
// is the transfer.
//
// An invoice becomes a payment, and one or several transfers pay it. The webhook has
// the amounts of the transfers in coins. The amount of the invoice comes from the API.
// An amount in a currency without a code of ISO 4217, such as BTC, is left out. Payouts
// have no amount: the API shows them only to keys that can also approve them.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Invoices_GetInvoice
var btcpay = Connector{
	Docs:      "https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks",
	Key:       "metadata.<merchant_id_keys>, else metadata.orderId, of the webhook or (fetched) of the invoice",
	Tellers:   btcpayTellers,
	Captures:  CountsTotal, // paidAmount of the invoice
	normalize: btcpayNormalize,
}

// btcpayTellers lists the events, the most important first.
var btcpayTellers = []Teller{
	{Event: "InvoiceSettled", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "InvoiceExpired", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "InvoiceInvalid", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "InvoiceReceivedPayment", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.PaymentActionRequired}},
	{Event: "InvoiceProcessing", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "InvoicePaymentSettled", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.PaymentActionRequired}},
	{Event: "PayoutCreated", Facts: []schemas.Type{schemas.PayoutCreated, schemas.PayoutProcessing, schemas.PayoutSucceeded, schemas.PayoutCancelled}},
	{Event: "PayoutApproved", Facts: []schemas.Type{schemas.PayoutProcessing, schemas.PayoutCreated, schemas.PayoutSucceeded, schemas.PayoutCancelled}},
	{Event: "PayoutUpdated", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutCancelled, schemas.PayoutCreated, schemas.PayoutProcessing}},
}

// btcpayReaders maps an event to the function that reads it and to the event type. A
// confirmed transfer may pay only a part of the invoice, so only InvoiceSettled
// captures the payment.
//
// Coins can arrive after an invoice has expired. The invoice then stays expired: the
// merchant has to settle it by hand (InvoiceSettled) or return the coins.
var btcpayReaders = map[string]struct {
	read func(btcpayEvent, schemas.Type, Options) (fact, error)
	typ  schemas.Type
}{
	"InvoiceReceivedPayment": {btcpayInvoice, schemas.PaymentProcessing},
	"InvoicePaymentSettled":  {btcpayInvoice, schemas.PaymentProcessing},
	"InvoiceProcessing":      {btcpayInvoice, schemas.PaymentProcessing},
	"InvoiceSettled":         {btcpayInvoice, schemas.PaymentCaptured},
	"InvoiceExpired":         {btcpayInvoice, schemas.PaymentExpired},
	"InvoiceInvalid":         {btcpayInvoice, schemas.PaymentFailed},

	"PayoutCreated":  {btcpayPayout, schemas.PayoutCreated},
	"PayoutApproved": {btcpayPayout, schemas.PayoutProcessing},
	"PayoutUpdated":  {btcpayPayout, ""}, // payoutState decides
}

// btcpayIgnored maps an ignored event to the reason.
var btcpayIgnored = map[string]string{
	"InvoiceCreated":              "the invoice is open and nobody has paid",
	"PaymentRequestCreated":       "invoices pay a payment request, and their events report the payments",
	"PaymentRequestUpdated":       "invoices pay a payment request, and their events report the payments",
	"PaymentRequestStatusChanged": "invoices pay a payment request, and their events report the payments",
	"PaymentRequestArchived":      "invoices pay a payment request, and their events report the payments",
}

// btcpayPayoutTypes maps a payoutState to the event type.
var btcpayPayoutTypes = map[text]schemas.Type{
	"AwaitingApproval": schemas.PayoutCreated,
	"AwaitingPayment":  schemas.PayoutProcessing,
	"InProgress":       schemas.PayoutProcessing,
	"Completed":        schemas.PayoutSucceeded,
	"Cancelled":        schemas.PayoutCancelled,
}

type btcpayEvent struct {
	Type               string   `json:"type"`
	DeliveryID         text     `json:"deliveryId"`
	OriginalDeliveryID text     `json:"originalDeliveryId"`
	Timestamp          int64    `json:"timestamp"`
	AfterExpiration    bool     `json:"afterExpiration"`
	StoreID            text     `json:"storeId"`
	InvoiceID          text     `json:"invoiceId"`
	Metadata           metadata `json:"metadata"`
	PaymentMethod      text     `json:"paymentMethod"`   // until BTCPay Server 1
	PaymentMethodID    text     `json:"paymentMethodId"` // since 2
	Payment            struct { // a transfer
		ID text `json:"id"`
	} `json:"payment"`
	PartiallyPaid bool `json:"partiallyPaid"`
	PayoutID      text `json:"payoutId"`
	PayoutState   text `json:"payoutState"`
}

func btcpayNormalize(payload []byte, o Options) ([]fact, error) {
	var n struct {
		Type text `json:"type"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	name := string(n.Type)
	if name == "" {
		return nil, fmt.Errorf("%w: no type: not an event of BTCPay Server's", ErrMalformed)
	}
	event, ok := btcpayReaders[name]
	if reason := btcpayIgnored[name]; reason != "" {
		return []fact{ignored(name, reason)}, nil
	} else if !ok {
		return []fact{notUnified(name)}, nil
	}
	var e btcpayEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(name, err)
	}
	id := first(e.OriginalDeliveryID, e.DeliveryID)
	f, err := event.read(e, event.typ, o)
	const test = "__test__" // part of the ids in test deliveries
	if strings.Contains(first(e.InvoiceID, e.PayoutID), test) || strings.Contains(id, test) {
		f.Mode = modeTest
	}
	f.Time, f.Account, f.ConnectorEventID = unix(e.Timestamp), string(e.StoreID), id
	if id != "" {
		f.Formerly = []string{id}
	}
	return oneFact(e.Type, f, err)
}

// btcpayInvoice reads an event of an invoice.
func btcpayInvoice(e btcpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	if e.InvoiceID == "" {
		return f, fmt.Errorf("%w: no invoiceId: the event does not say what it is about", ErrMalformed)
	}
	f.Type, f.Identity = typ, string(e.InvoiceID)+":"+e.Type
	switch {
	case e.Payment.ID != "":
		f.Identity += ":" + string(e.Payment.ID)
	case e.Type == "InvoiceReceivedPayment" || e.Type == "InvoicePaymentSettled":
		f.Identity = first(e.OriginalDeliveryID, e.DeliveryID, text(f.Identity)) // there can be several, and the transfer has no id
	}
	f.MerchantTransactionID = first(o.merchantID(e.Metadata), string(e.Metadata.get("orderId")))
	f.ConnectorTransactionID = string(e.InvoiceID)
	if coin := first(e.PaymentMethodID, e.PaymentMethod); coin != "" {
		f.PaymentMethod = method("crypto", coin)
	}
	switch {
	case e.AfterExpiration && typ == schemas.PaymentProcessing:
		f.Type, f.Error = schemas.PaymentActionRequired, failure("afterExpiration", "", "")
	case e.PartiallyPaid:
		f.Error = failure("partiallyPaid", "", "")
	}
	return f, f.fillFromBtcpayInvoice(o)
}

// fillFromBtcpayInvoice adds what the API says of the invoice. An invoice without a fixed
// price (type TopUp) has the amount 0 until it is paid. An invoice that somebody marked
// as settled by hand (additionalStatus Marked) may have received nothing.
func (f *fact) fillFromBtcpayInvoice(o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var d struct {
		Amount           text     `json:"amount"`
		Paid             text     `json:"paidAmount"`
		Currency         text     `json:"currency"`
		AdditionalStatus text     `json:"additionalStatus"`
		Metadata         metadata `json:"metadata"`
	}
	name := "invoice/" + f.ConnectorTransactionID
	if ok, err := o.document(name, &d); !ok {
		return err
	}
	fill(&f.MerchantTransactionID, first(o.merchantID(d.Metadata), string(d.Metadata.get("orderId"))))
	amount, err := btcpayAmount(d.Amount, d.Currency)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", name, err)
	}
	paid, err := btcpayAmount(d.Paid, d.Currency)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", name, err)
	}
	if amount != nil && amount.Value == 0 {
		amount = paid
	}
	f.Amount = amount
	if f.Type == schemas.PaymentCaptured && d.AdditionalStatus != "Marked" {
		f.CapturedAmount = cmp.Or(paid, amount)
	}
	return nil
}

// btcpayAmount returns an amount, or nil if the currency is none of ISO 4217.
func btcpayAmount(decimal, currency text) (*schemas.Amount, error) {
	if _, ok := schemas.Exponent(string(currency)); !ok {
		return nil, nil
	}
	return major(decimal, currency)
}

// btcpayPayout reads an event of a payout.
func btcpayPayout(e btcpayEvent, typ schemas.Type, _ Options) (f fact, err error) {
	if e.PayoutID == "" {
		return f, fmt.Errorf("%w: no payoutId: the event does not say what it is about", ErrMalformed)
	}
	if typ = schemas.Type(first(btcpayPayoutTypes[e.PayoutState], typ)); typ == "" {
		return ignored(e.Type, fmt.Sprintf("payoutState %q is not known", e.PayoutState)), nil
	}
	f.Type, f.Identity = typ, string(e.PayoutID)+":"+first(e.PayoutState, text(e.Type))
	f.ConnectorPayoutID = string(e.PayoutID)
	return f, nil
}
