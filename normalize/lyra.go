package normalize

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// lyra reads kr-answer: an order with its transactions. Each transaction is a fact.
// operationType says whether it is a payment (DEBIT), a refund (CREDIT) or the storing
// of a card (VERIFICATION), and detailedStatus gives its state. A transaction that is
// authorized and will be captured automatically counts as captured, because Lyra gives
// it the status PAID.
//
// The identity is the transaction's uuid. A refund names its payment; a CREDIT without
// one is a payout to a card.
//
// https://docs.lyra.com/en/rest/V4.0/api/kb/status_reference.html
var lyra = Connector{
	Docs:      "https://docs.lyra.com/en/rest/V4.0/api/kb/status_reference.html",
	Key:       "orderDetails.orderId, else the metadata's <merchant_id_keys>",
	Tellers:   sentToURL(lyraTellers),
	Captures:  CountsOnce, // each part is a transaction with a uuid of its own
	normalize: lyraNormalize,
}

// lyraTellers lists the event types.
var lyraTellers = []Teller{
	{Event: "ABANDONED", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "ACCEPTED", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "AUTHORISED", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.RefundSucceeded, schemas.PayoutSucceeded}},
	{Event: "AUTHORISED_TO_VALIDATE", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.RefundPending, schemas.PayoutProcessing}},
	{Event: "CANCELLED", Facts: []schemas.Type{schemas.PaymentCancelled, schemas.RefundCancelled, schemas.PayoutCancelled}},
	{Event: "CAPTURED", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.RefundSucceeded, schemas.PayoutSucceeded}},
	{Event: "CAPTURE_FAILED", Facts: []schemas.Type{schemas.PaymentCaptureFailed, schemas.RefundFailed, schemas.PayoutFailed}},
	{Event: "ERROR", Facts: []schemas.Type{schemas.PaymentFailed, schemas.RefundFailed, schemas.PayoutFailed}},
	{Event: "EXPIRED", Facts: []schemas.Type{schemas.PaymentExpired, schemas.RefundFailed, schemas.PayoutFailed}},
	{Event: "INITIAL", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.RefundPending, schemas.PayoutProcessing}},
	{Event: "PARTIALLY_AUTHORISED", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "REFUSED", Facts: []schemas.Type{schemas.PaymentFailed, schemas.RefundFailed, schemas.PayoutFailed, schemas.MandateFailed}},
	{Event: "SUSPENDED", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.RefundPending, schemas.PayoutProcessing}},
	{Event: "UNDER_VERIFICATION", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.RefundPending, schemas.PayoutProcessing}},
	{Event: "WAITING_AUTHORISATION", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.RefundPending, schemas.PayoutProcessing}},
	{Event: "WAITING_AUTHORISATION_TO_VALIDATE", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.RefundPending, schemas.PayoutProcessing}},
	{Event: "WAITING_FOR_PAYMENT", Facts: []schemas.Type{schemas.PaymentProcessing}},
}

// lyraTypes maps the operationType and the detailedStatus to the event type.
var lyraTypes = map[string]map[string]schemas.Type{
	"DEBIT": {
		"AUTHORISED":                        schemas.PaymentCaptured,
		"PARTIALLY_AUTHORISED":              schemas.PaymentCaptured,
		"CAPTURED":                          schemas.PaymentCaptured,
		"AUTHORISED_TO_VALIDATE":            schemas.PaymentAuthorized, // the merchant has to validate it
		"INITIAL":                           schemas.PaymentProcessing,
		"WAITING_AUTHORISATION":             schemas.PaymentProcessing,
		"WAITING_AUTHORISATION_TO_VALIDATE": schemas.PaymentProcessing,
		"WAITING_FOR_PAYMENT":               schemas.PaymentProcessing,
		"UNDER_VERIFICATION":                schemas.PaymentProcessing,
		"SUSPENDED":                         schemas.PaymentProcessing,
		"REFUSED":                           schemas.PaymentFailed,
		"ERROR":                             schemas.PaymentFailed,
		"CAPTURE_FAILED":                    schemas.PaymentCaptureFailed,
		"CANCELLED":                         schemas.PaymentCancelled,
		"ABANDONED":                         schemas.PaymentCancelled,
		"EXPIRED":                           schemas.PaymentExpired,
	},
	"CREDIT": {
		"AUTHORISED":                        schemas.RefundSucceeded,
		"CAPTURED":                          schemas.RefundSucceeded,
		"AUTHORISED_TO_VALIDATE":            schemas.RefundPending,
		"INITIAL":                           schemas.RefundPending,
		"WAITING_AUTHORISATION":             schemas.RefundPending,
		"WAITING_AUTHORISATION_TO_VALIDATE": schemas.RefundPending,
		"UNDER_VERIFICATION":                schemas.RefundPending,
		"SUSPENDED":                         schemas.RefundPending,
		"REFUSED":                           schemas.RefundFailed,
		"ERROR":                             schemas.RefundFailed,
		"CAPTURE_FAILED":                    schemas.RefundFailed,
		"EXPIRED":                           schemas.RefundFailed,
		"CANCELLED":                         schemas.RefundCancelled,
	},
	"VERIFICATION": {
		"ACCEPTED": schemas.MandateActive,
		"REFUSED":  schemas.MandateFailed,
	},
}

// lyraPayoutTypes maps the refund type of a CREDIT without a payment to the event type.
var lyraPayoutTypes = map[schemas.Type]schemas.Type{
	schemas.RefundPending:   schemas.PayoutProcessing,
	schemas.RefundSucceeded: schemas.PayoutSucceeded,
	schemas.RefundFailed:    schemas.PayoutFailed,
	schemas.RefundCancelled: schemas.PayoutCancelled,
}

type lyraAnswer struct {
	ShopID       text `json:"shopId"`
	OrderStatus  text `json:"orderStatus"`
	ServerDate   text `json:"serverDate"`
	OrderDetails struct {
		OrderID          text     `json:"orderId"`
		OrderTotalAmount *int64   `json:"orderTotalAmount"`
		OrderCurrency    text     `json:"orderCurrency"`
		Mode             text     `json:"mode"`
		Metadata         metadata `json:"metadata"`
	} `json:"orderDetails"`
}

type lyraTransaction struct {
	UUID                 text     `json:"uuid"`
	Amount               *int64   `json:"amount"`
	Currency             text     `json:"currency"`
	OperationType        string   `json:"operationType"`
	DetailedStatus       string   `json:"detailedStatus"`
	PaymentMethodType    text     `json:"paymentMethodType"`
	PaymentMethodToken   text     `json:"paymentMethodToken"`
	ErrorCode            text     `json:"errorCode"`
	ErrorMessage         text     `json:"errorMessage"`
	DetailedErrorCode    text     `json:"detailedErrorCode"`
	DetailedErrorMessage text     `json:"detailedErrorMessage"`
	Metadata             metadata `json:"metadata"`
	Details              struct {
		ParentTransactionUUID text `json:"parentTransactionUuid"`
		CardDetails           struct {
			EffectiveBrand        text `json:"effectiveBrand"`
			AuthorizationResponse struct {
				Amount              *int64 `json:"amount"`
				Currency            text   `json:"currency"`
				AuthorizationResult text   `json:"authorizationResult"`
			} `json:"authorizationResponse"`
		} `json:"cardDetails"`
	} `json:"transactionDetails"`
}

func lyraNormalize(payload []byte, o Options) ([]fact, error) {
	if !bytes.HasPrefix(payload, []byte("{")) { // the unverified form, from `tollbridge inspect --payload`
		form, err := decodeForm(payload)
		if err != nil {
			return nil, err
		}
		payload = []byte(form["kr-answer"])
	}
	var items struct {
		Transactions []part `json:"transactions"`
	}
	if err := decode(payload, &items); err != nil {
		return nil, err
	}
	var a lyraAnswer
	err := redecode(payload, &a)
	if err == nil && (a.ShopID == "" || a.OrderStatus == "") {
		err = fmt.Errorf("%w: no shopId or no orderStatus: not an answer about a payment of Lyra's", ErrMalformed)
	}
	if len(items.Transactions) == 0 {
		if err != nil {
			return nil, err
		}
		return []fact{a.unpaid(o)}, nil
	}
	var facts []fact
	for _, t := range items.Transactions {
		facts = append(facts, a.read(t, err, o))
	}
	return facts, nil
}

// read returns the fact of a transaction. It reads each transaction separately, so that
// one that cannot be read does not affect the others. If orderErr, the error of the
// order's own fields, is not nil, the fact is malformed.
func (a lyraAnswer) read(transaction part, orderErr error, o Options) fact {
	var n struct {
		OperationType  text `json:"operationType"`
		DetailedStatus text `json:"detailedStatus"`
	}
	if err := redecode(transaction, &n); err != nil {
		return malformed("", err)
	}
	event := string(n.DetailedStatus)
	if event != "" && lyraTypes[string(n.OperationType)][event] == "" {
		return ignored(event, fmt.Sprintf("the status %q of a transaction of type %q is not known to tollbridge", event, n.OperationType))
	}
	var t lyraTransaction
	err := redecode(transaction, &t)
	if err == nil {
		err = orderErr
	}
	var f fact
	if err == nil {
		f, err = a.fact(t, o)
	}
	if err != nil {
		return malformed(event, err)
	}
	return f
}

// common returns a fact with the fields that all facts of an order have.
func (a lyraAnswer) common(event string, o Options, more metadata) (f fact, err error) {
	d := a.OrderDetails
	f.ConnectorEventType, f.Account = event, string(a.ShopID)
	f.MerchantTransactionID = first(string(d.OrderID), o.merchantID(more, d.Metadata))
	f.Mode = modeOf(d.Mode != "TEST")
	f.Time, err = timestamp(a.ServerDate, time.RFC3339)
	return f, err
}

// unpaid returns the fact of an order without transactions.
func (a lyraAnswer) unpaid(o Options) fact {
	event := string(a.OrderStatus)
	if a.OrderStatus != "ABANDONED" || a.OrderDetails.OrderID == "" {
		return ignored(event, "no transaction was made for the order")
	}
	f, err := a.common(event, o, nil)
	if err != nil {
		return malformed(event, err)
	}
	f.Type, f.Identity = schemas.PaymentCancelled, string(a.ShopID+"/"+a.OrderDetails.OrderID+"/"+a.ServerDate)
	if f.Amount, err = minor(a.OrderDetails.OrderTotalAmount, a.OrderDetails.OrderCurrency, nil); err != nil {
		return malformed(event, err)
	}
	return f
}

// fact returns the fact of a transaction.
func (a lyraAnswer) fact(t lyraTransaction, o Options) (f fact, err error) {
	if t.UUID == "" {
		return f, fmt.Errorf("%w: no transactions.uuid", ErrMalformed)
	}
	typ, parent := lyraTypes[t.OperationType][t.DetailedStatus], t.Details.ParentTransactionUUID
	if typ == "" {
		return f, fmt.Errorf("%w: no transactions.detailedStatus", ErrMalformed)
	}
	if typ.Family() == "refund" && parent == "" {
		typ = lyraPayoutTypes[typ]
	}
	if f, err = a.common(t.DetailedStatus, o, t.Metadata); err != nil {
		return f, err
	}
	f.Type, f.Identity = typ, string(t.UUID)
	f.PaymentMethod = method(t.PaymentMethodType, t.Details.CardDetails.EffectiveBrand)
	if t.DetailedStatus == "PARTIALLY_AUTHORISED" { // the transaction's own amount is what was requested
		t.Amount, t.Currency = t.Details.CardDetails.AuthorizationResponse.Amount, t.Details.CardDetails.AuthorizationResponse.Currency
	}
	if f.Amount, err = minor(t.Amount, t.Currency, nil); err != nil {
		return f, err
	}
	switch typ.Family() {
	case "payment":
		f.ConnectorTransactionID, f.MandateID = string(t.UUID), string(t.PaymentMethodToken)
	case "refund":
		f.ConnectorTransactionID, f.ConnectorRefundID = string(parent), string(t.UUID)
	case "payout":
		f.ConnectorPayoutID, f.PaymentMethod = string(t.UUID), nil
	case "mandate":
		f.ConnectorMandateID, f.Amount = first(t.PaymentMethodToken, t.UUID), nil
	}
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.AuthorizedAmount, f.CapturedAmount = f.Amount, f.Amount
	case schemas.PaymentFailed, schemas.PaymentCaptureFailed, schemas.RefundFailed, schemas.PayoutFailed, schemas.MandateFailed:
		result := t.Details.CardDetails.AuthorizationResponse.AuthorizationResult
		if result == "0" { // 0 is an approval: the transaction failed later
			result = ""
		}
		f.Error = failure(first(t.DetailedErrorCode, t.ErrorCode), first(t.DetailedErrorMessage, t.ErrorMessage), result)
	}
	return f, nil
}
