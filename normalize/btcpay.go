package normalize

import (
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// btcpay: one event a webhook, {"type", "originalDeliveryId", "timestamp",
// "storeId"} and the id of an invoice or a payout. A redelivery has a new
// deliveryId and the original's in originalDeliveryId.
//
// An invoice is the payment; what pays it, in one or several transfers, is
// told in coins, and the invoice's own amount not at all: events have none.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks
var btcpay = Connector{
	Docs:      "https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks",
	Key:       "metadata.<merchant_id_keys>, else metadata.orderId",
	Normalize: btcpayNormalize,
}

// btcpayReaders are what the events mean, and what reads them. A transfer that
// is confirmed need not be all that the invoice asks for: InvoiceSettled tells.
//
// An invoice that is expired stays so whatever comes in afterwards, and no further
// event tells of it: the merchant must look at coins that came after the
// expiration, and settle the invoice by hand (InvoiceSettled) or give them back.
var btcpayReaders = map[string]struct {
	read func(btcpayEvent, schemas.Type, Options) (Fact, error)
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
	"PayoutUpdated":  {btcpayPayout, ""}, // its state decides
}

// btcpayIgnored are the events of which nothing comes.
var btcpayIgnored = map[string]string{
	"InvoiceCreated":              "the invoice is open and nobody has paid",
	"PaymentRequestCreated":       "a payment request is paid by invoices, whose events tell",
	"PaymentRequestUpdated":       "a payment request is paid by invoices, whose events tell",
	"PaymentRequestStatusChanged": "a payment request is paid by invoices, whose events tell",
	"PaymentRequestArchived":      "a payment request is paid by invoices, whose events tell",
}

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
	PartiallyPaid      bool     `json:"partiallyPaid"`
	PayoutID           text     `json:"payoutId"`
	PayoutState        text     `json:"payoutState"`
}

func btcpayNormalize(payload []byte, o Options) ([]Fact, error) {
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
	if why := btcpayIgnored[name]; why != "" {
		return []Fact{ignored(name, why)}, nil
	} else if !ok {
		return []Fact{notUnified(name)}, nil
	}
	var e btcpayEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(name, err)
	}
	id := first(e.OriginalDeliveryID, e.DeliveryID)
	if id == "" {
		return oneMalformed(name, fmt.Errorf("%w: no originalDeliveryId", ErrMalformed))
	}
	f, err := event.read(e, event.typ, o)
	const test = "__test__" // in the ids of what "send a test" sends
	if strings.Contains(first(e.InvoiceID, e.PayoutID), test) || strings.Contains(id, test) {
		f.Mode = ModeTest
	}
	f.Identity, f.Time, f.Account = id, unix(e.Timestamp), string(e.StoreID)
	f.ConnectorEventID = id
	return oneFact(e.Type, f, err)
}

func btcpayInvoice(e btcpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	if e.InvoiceID == "" {
		return f, fmt.Errorf("%w: no invoiceId: it is not told what the event is about", ErrMalformed)
	}
	f.Type = typ
	f.MerchantTransactionID = first(o.merchantID(e.Metadata), string(e.Metadata["orderId"]))
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
	return f, nil
}

func btcpayPayout(e btcpayEvent, typ schemas.Type, _ Options) (f Fact, err error) {
	if e.PayoutID == "" {
		return f, fmt.Errorf("%w: no payoutId: it is not told what the event is about", ErrMalformed)
	}
	if typ = schemas.Type(first(btcpayPayoutTypes[e.PayoutState], typ)); typ == "" {
		return ignored(e.Type, fmt.Sprintf("payoutState %q is not known", e.PayoutState)), nil
	}
	f.Type, f.ConnectorPayoutID = typ, string(e.PayoutID)
	return f, nil
}
