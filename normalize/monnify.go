package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// monnify reads one event for each webhook, {"eventType", "eventData"}. Events have no
// id: the identity is the reference of the transaction, refund or settlement, with the
// amount if a transaction is overpaid or paid in parts. Amounts are in naira, not kobo,
// as numbers or text, and mostly without a currency: Monnify has no other. Times are
// Nigeria's, always UTC+1. created_on is when the transaction was created, and is not
// used.
//
// If the status in the data claims less than the event's name, the status decides.
//
// https://developers.monnify.com/docs/webhooks
var monnify = Connector{
	Docs:      "https://developers.monnify.com/docs/webhooks",
	Key:       "eventData.paymentReference; eventData.reference of disbursements, eventData.externalMandateReference of mandates",
	Tellers:   monnifyTellers(),
	Captures:  CountsUnknown, // amountPaid; Monnify does not say whether that of a transaction which is paid in parts is the sum so far: https://developers.monnify.com/docs/collections/manage-payments/verify-transactions
	normalize: monnifyNormalize,
}

// monnifyReaders maps an event to the function that reads its data and to the event
// type. The type is empty where the data decides.
var monnifyReaders = map[string]struct {
	read func(monnifyData, schemas.Type) (fact, error)
	typ  schemas.Type
}{
	"SUCCESSFUL_TRANSACTION":  {monnifyData.payment, schemas.PaymentCaptured},
	"REJECTED_PAYMENT":        {monnifyData.payment, schemas.PaymentFailed}, // underpaid or overpaid, and returned to the payer
	"SUCCESSFUL_REFUND":       {monnifyData.refund, schemas.RefundSucceeded},
	"FAILED_REFUND":           {monnifyData.refund, schemas.RefundFailed},
	"SUCCESSFUL_DISBURSEMENT": {monnifyData.disbursement, schemas.PayoutSucceeded},
	"FAILED_DISBURSEMENT":     {monnifyData.disbursement, schemas.PayoutFailed},
	"REVERSED_DISBURSEMENT":   {monnifyData.disbursement, schemas.PayoutReversed},
	"SETTLEMENT":              {monnifyData.settlement, schemas.PayoutSucceeded},
	"MANDATE_UPDATE":          {monnifyData.mandate, ""},
}

// monnifyStatusTypes corrects the type of an event whose name claims more than the
// status in its data. The statuses that agree with the name are missing: PAID,
// PARTIALLY_PAID, OVERPAID, COMPLETED and SUCCESS.
var monnifyStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"PENDING":   schemas.PaymentProcessing,
		"ABANDONED": schemas.PaymentCancelled,
		"CANCELLED": schemas.PaymentCancelled,
		"FAILED":    schemas.PaymentFailed,
		"EXPIRED":   schemas.PaymentExpired,
		"REVERSED":  schemas.PaymentReversed,
	},
	schemas.RefundSucceeded: {
		"PENDING":     schemas.RefundPending,
		"IN_PROGRESS": schemas.RefundPending,
		"FAILED":      schemas.RefundFailed,
	},
	schemas.PayoutSucceeded: {
		"PENDING":               schemas.PayoutProcessing,
		"IN_PROGRESS":           schemas.PayoutProcessing,
		"AWAITING_PROCESSING":   schemas.PayoutProcessing,
		"PENDING_AUTHORIZATION": schemas.PayoutProcessing,
		"FAILED":                schemas.PayoutFailed,
		"EXPIRED":               schemas.PayoutFailed,
		"REVERSED":              schemas.PayoutReversed,
	},
}

// monnifyMandateTypes maps a mandate's status to the event type.
var monnifyMandateTypes = map[text]schemas.Type{
	"ACTIVE":    schemas.MandateActive,
	"ACTIVATED": schemas.MandateActive,
	"FAILED":    schemas.MandateFailed,
	"REJECTED":  schemas.MandateFailed,
	"CANCELLED": schemas.MandateRevoked,
	"EXPIRED":   schemas.MandateRevoked,
}

// monnifyTellers lists the event types, derived from the tables of the events and
// statuses. At Monnify, each kind of event has a URL of its own.
func monnifyTellers() (all []Teller) {
	for _, event := range slices.Sorted(maps.Keys(monnifyReaders)) {
		typ := monnifyReaders[event].typ
		facts := append([]schemas.Type{typ}, slices.Sorted(maps.Values(monnifyStatusTypes[typ]))...)
		if event == "MANDATE_UPDATE" {
			facts = slices.Sorted(maps.Values(monnifyMandateTypes))
		}
		all = append(all, Teller{Event: event, Facts: distinct(facts...)})
	}
	return all
}

type monnifyData struct {
	TransactionReference   text   `json:"transactionReference"`
	PaymentReference       text   `json:"paymentReference"`
	PaymentStatus          text   `json:"paymentStatus"`
	AmountPaid             text   `json:"amountPaid"`
	Amount                 text   `json:"amount"`
	Currency               string `json:"currency"`
	PaymentMethod          text   `json:"paymentMethod"`
	TransactionDescription text   `json:"transactionDescription"`
	PaidOn                 text   `json:"paidOn"`
	CompletedOn            text   `json:"completedOn"`
	SettlementTime         text   `json:"settlementTime"`
	Rejection              struct {
		Reason text `json:"rejectionReason"`
	} `json:"paymentRejectionInformation"`
	RefundReference     text `json:"refundReference"`
	RefundStatus        text `json:"refundStatus"`
	Status              text `json:"status"` // of disbursements and settlements
	RefundAmount        text `json:"refundAmount"`
	MerchantReason      text `json:"merchantReason"`
	Reference           text `json:"reference"`
	SettlementReference text `json:"settlementReference"`
	MandateCode         text `json:"mandateCode"`
	MandateReference    text `json:"externalMandateReference"`
	MandateStatus       text `json:"mandateStatus"`
}

func monnifyNormalize(payload []byte, _ Options) ([]fact, error) {
	var e struct {
		EventType text `json:"eventType"`
		EventData part `json:"eventData"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	name := string(e.EventType)
	if name == "" {
		return nil, fmt.Errorf("%w: no eventType: not an event of Monnify's", ErrMalformed)
	}
	event, ok := monnifyReaders[name]
	if !ok {
		return []fact{notUnified(name)}, nil
	}
	var d monnifyData
	if err := redecode(e.EventData, &d); err != nil {
		return oneMalformed(name, err)
	}
	f, err := event.read(d, schemas.Type(first(monnifyStatusTypes[event.typ][d.status(event.typ)], event.typ)))
	if at := d.time(f.Type); at != "" && err == nil {
		f.Time, err = timestamp(at+" +01", "02/01/2006 3:04:05 PM -07", "2006-01-02 15:04:05 -07", "2006-01-02T15:04:05 -07")
	}
	return oneFact(name, f, err)
}

// status returns the status of the resource, in upper case.
func (d monnifyData) status(typ schemas.Type) text {
	switch typ.Family() {
	case "payment":
		return text(strings.ToUpper(string(d.PaymentStatus)))
	case "refund":
		return text(strings.ToUpper(string(d.RefundStatus)))
	default:
		return text(strings.ToUpper(string(d.Status)))
	}
}

// time returns the time of the fact, or "". The time at which a payment was made is not
// the time of its refund.
func (d monnifyData) time(typ schemas.Type) string {
	if typ == schemas.PaymentCaptured {
		return string(d.PaidOn)
	}
	return first(d.CompletedOn, d.SettlementTime)
}

// monnifyMissing returns the error for an event without the id of its resource.
func monnifyMissing(id string) error {
	return fmt.Errorf("%w: no eventData.%s: the event does not say what it is about", ErrMalformed, id)
}

// currency returns the currency, or NGN if there is none.
func (d monnifyData) currency() string { return first(d.Currency, "NGN") }

// payment reads a transaction.
func (d monnifyData) payment(typ schemas.Type) (f fact, err error) {
	if d.TransactionReference == "" {
		return f, monnifyMissing("transactionReference")
	}
	f.Type, f.Identity = typ, string(d.TransactionReference)
	if typ == schemas.PaymentCaptured && d.PaymentStatus != "" && d.PaymentStatus != "PAID" {
		f.Identity += "/" + string(d.AmountPaid)
	}
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.PaymentReference), string(d.TransactionReference)
	f.PaymentMethod = method(d.PaymentMethod, "")
	f.Error = failure(d.Rejection.Reason, "", "")
	amount := d.AmountPaid
	if typ != schemas.PaymentCaptured { // amount is the requested amount
		amount = text(first(d.AmountPaid, d.Amount))
	}
	if f.Amount, err = major(amount, d.currency()); typ == schemas.PaymentCaptured {
		f.CapturedAmount = f.Amount
	}
	return f, err
}

// refund reads a refund. Its only id is the reference that the merchant gave it.
func (d monnifyData) refund(typ schemas.Type) (f fact, err error) {
	if d.RefundReference == "" {
		return f, monnifyMissing("refundReference")
	}
	f.Type, f.Identity = typ, string(d.RefundReference)
	f.ConnectorTransactionID = string(d.TransactionReference)
	f.ConnectorRefundID, f.MerchantRefundID = string(d.RefundReference), string(d.RefundReference)
	f.Reason = string(d.MerchantReason)
	f.Amount, err = major(d.RefundAmount, d.currency())
	return f, err
}

// disbursement reads a payout to a beneficiary.
func (d monnifyData) disbursement(typ schemas.Type) (f fact, err error) {
	if d.TransactionReference == "" {
		return f, monnifyMissing("transactionReference")
	}
	f.Type, f.Identity = typ, string(d.TransactionReference)
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.Reference), string(d.Reference)
	f.ConnectorTransactionID, f.ConnectorPayoutID = string(d.TransactionReference), string(d.TransactionReference)
	if typ == schemas.PayoutFailed || typ == schemas.PayoutReversed {
		f.Error = failure("", d.TransactionDescription, "")
	}
	f.Amount, err = major(d.Amount, d.currency())
	return f, err
}

// settlement reads a payout to the merchant's own bank account or wallet.
func (d monnifyData) settlement(typ schemas.Type) (f fact, err error) {
	if d.SettlementReference == "" {
		return f, monnifyMissing("settlementReference")
	}
	f.Type, f.Identity, f.ConnectorPayoutID = typ, string(d.SettlementReference), string(d.SettlementReference)
	f.Amount, err = major(d.Amount, d.currency())
	return f, err
}

// mandate reads a mandate.
func (d monnifyData) mandate(schemas.Type) (f fact, err error) {
	if d.MandateCode == "" {
		return f, monnifyMissing("mandateCode")
	}
	if f.Type = monnifyMandateTypes[d.MandateStatus]; f.Type == "" {
		return ignored("", fmt.Sprintf("mandateStatus %q neither activates nor ends a mandate", d.MandateStatus)), nil
	}
	f.MerchantTransactionID, f.ConnectorMandateID = string(d.MandateReference), string(d.MandateCode)
	return f, nil
}
