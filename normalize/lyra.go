package normalize

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// lyra: kr-answer, which is an order and the transactions that were made for
// it; each is a fact. operationType says what a transaction is, a payment
// (DEBIT), a refund (CREDIT) or the storing of a card (VERIFICATION), and
// detailedStatus what became of it. What is authorized and will be captured by
// itself counts as paid, as Lyra has it: status says PAID for it.
//
// Its identity is its uuid. A refund names its payment; without that it is
// money paid to a card.
//
// https://docs.lyra.com/en/rest/V4.0/api/kb/status_reference.html
var lyra = Connector{
	Docs:      "https://docs.lyra.com/en/rest/V4.0/api/kb/status_reference.html",
	Key:       "orderDetails.orderId, else the metadata's <merchant_id_keys>",
	Normalize: lyraNormalize,
}

// lyraTypes is what a detailedStatus means by the operationType.
var lyraTypes = map[string]map[string]schemas.Type{
	"DEBIT": {
		"AUTHORISED":                        schemas.PaymentCaptured,
		"PARTIALLY_AUTHORISED":              schemas.PaymentCaptured,
		"CAPTURED":                          schemas.PaymentCaptured,
		"AUTHORISED_TO_VALIDATE":            schemas.PaymentAuthorized, // by the merchant
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

// lyraPayoutTypes is what a refund's types are where there is no payment.
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

func lyraNormalize(payload []byte, o Options) ([]Fact, error) {
	if !bytes.HasPrefix(payload, []byte("{")) { // the form itself, unverified: `tollbridge inspect --payload`
		form, err := decodeForm(payload)
		if err != nil {
			return nil, err
		}
		payload = []byte(form["kr-answer"])
	}
	var items struct {
		Transactions []jsontext.Value `json:"transactions"`
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
		return []Fact{a.unpaid(o)}, nil
	}
	var facts []Fact
	for _, t := range items.Transactions {
		facts = append(facts, a.read(t, err, o))
	}
	return facts, nil
}

// read reads a transaction by itself, so that one which cannot be read takes none
// of the others along. wrong is what is wrong with what all have in common.
func (a lyraAnswer) read(transaction jsontext.Value, wrong error, o Options) Fact {
	var n struct {
		OperationType  text `json:"operationType"`
		DetailedStatus text `json:"detailedStatus"`
	}
	if err := redecode(transaction, &n); err != nil {
		return malformed("", err)
	}
	event := string(n.DetailedStatus)
	if event != "" && lyraTypes[string(n.OperationType)][event] == "" {
		return ignored(event, fmt.Sprintf("the status %q of a transaction of type %q is none that is known", event, n.OperationType))
	}
	var t lyraTransaction
	err := redecode(transaction, &t)
	if err == nil {
		err = wrong
	}
	var f Fact
	if err == nil {
		f, err = a.fact(t, o)
	}
	if err != nil {
		return malformed(event, err)
	}
	return f
}

// about is what all facts of an order have in common.
func (a lyraAnswer) about(event string, o Options, more metadata) (f Fact, err error) {
	d := a.OrderDetails
	f.ConnectorEventType, f.Account = event, string(a.ShopID)
	f.MerchantTransactionID = first(string(d.OrderID), o.merchantID(more, d.Metadata))
	f.Mode = mode(d.Mode != "TEST")
	f.Time, err = timestamp(a.ServerDate, time.RFC3339)
	return f, err
}

// unpaid is the fact of an order without transactions.
func (a lyraAnswer) unpaid(o Options) Fact {
	event := string(a.OrderStatus)
	if a.OrderStatus != "ABANDONED" || a.OrderDetails.OrderID == "" {
		return ignored(event, "no transaction was made for the order")
	}
	f, err := a.about(event, o, nil)
	if err != nil {
		return malformed(event, err)
	}
	f.Type, f.Identity = schemas.PaymentCancelled, string(a.ShopID+"/"+a.OrderDetails.OrderID+"/"+a.ServerDate)
	if f.Amount, err = minor(a.OrderDetails.OrderTotalAmount, a.OrderDetails.OrderCurrency, nil); err != nil {
		return malformed(event, err)
	}
	return f
}

func (a lyraAnswer) fact(t lyraTransaction, o Options) (f Fact, err error) {
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
	if f, err = a.about(t.DetailedStatus, o, t.Metadata); err != nil {
		return f, err
	}
	f.Type, f.Identity = typ, string(t.UUID)
	f.PaymentMethod = method(t.PaymentMethodType, t.Details.CardDetails.EffectiveBrand)
	if t.DetailedStatus == "PARTIALLY_AUTHORISED" { // the transaction's amount is what was asked for
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
		if result == "0" { // that was authorized; it failed later
			result = ""
		}
		f.Error = failure(first(t.DetailedErrorCode, t.ErrorCode), first(t.DetailedErrorMessage, t.ErrorMessage), result)
	}
	return f, nil
}
