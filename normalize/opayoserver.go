package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// opayoServer normalises the notifications of Opayo Server: a form about one
// transaction, sent when the transaction ends. It has no amount. VPSTxId,
// VendorTxCode and Status are signed, and the event type comes from Status. TxType is
// not signed. It is used only where it claims less than Status does: a transaction of
// type DEFERRED is authorized and not yet captured. The identity is VPSTxId and Status.
//
// https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction
var opayoServer = Connector{
	Docs:      "https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction",
	Key:       "VendorTxCode",
	Tellers:   sentToURL(opayoServerTellers),
	Captures:  CountsOnce, // the notification comes once, and a later release has none
	normalize: opayoServerNormalize,
}

// opayoServerTellers lists the event types.
var opayoServerTellers = []Teller{
	{Event: "ABORT", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "AUTHENTICATED", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "ERROR", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "NOTAUTHED", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "OK", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentCaptured, schemas.MandateActive}},
	{Event: "PENDING", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "REGISTERED", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "REJECTED", Facts: []schemas.Type{schemas.PaymentFailed}},
}

// opayoServerTypes maps Status to the event type.
var opayoServerTypes = map[string]schemas.Type{
	"OK":            schemas.PaymentCaptured,
	"PENDING":       schemas.PaymentProcessing,
	"AUTHENTICATED": schemas.PaymentActionRequired, // the merchant has to authorise it
	"REGISTERED":    schemas.PaymentActionRequired, // the same, but the payer was not authenticated
	"NOTAUTHED":     schemas.PaymentFailed,
	"REJECTED":      schemas.PaymentFailed, // by the merchant's own rules
	"ERROR":         schemas.PaymentFailed,
	"ABORT":         schemas.PaymentCancelled,
}

func opayoServerNormalize(payload []byte, _ Options) ([]fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	status := p["Status"]
	f := fact{Type: opayoServerTypes[status]}
	switch {
	case status == "":
		return nil, fmt.Errorf("%w: no Status: not a notification of Opayo's", ErrMalformed)
	case f.Type == "":
		return []fact{unknownStatus(status, "the status", status)}, nil
	case p["VPSTxId"] == "":
		return oneMalformed(status, fmt.Errorf("%w: no VPSTxId: the webhook does not say which transaction it is about", ErrMalformed))
	}
	f.Identity, f.ConnectorEventType = p["VPSTxId"]+"/"+status, status
	f.MerchantTransactionID = p["VendorTxCode"]
	if status == "OK" && p["TxAuthNo"] == "" && p["Token"] != "" { // the bank was not asked: the card was only stored
		f.Type, f.ConnectorMandateID = schemas.MandateActive, p["Token"]
		return []fact{f}, nil
	}
	if status == "OK" && p["TxType"] == "DEFERRED" {
		f.Type = schemas.PaymentAuthorized
	}
	f.ConnectorTransactionID, f.MandateID = p["VPSTxId"], p["Token"]
	if p["DSTransID"] != "" { // without it, part of another field could pass as the beginning of SchemeTraceID
		f.NetworkTransactionID = p["SchemeTraceID"]
	}
	switch card := p["CardType"]; card {
	case "":
	case "PAYPAL":
		f.PaymentMethod = method(card, "")
	default:
		f.PaymentMethod = method("card", card)
	}
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(status, p["StatusDetail"], p["DeclineCode"])
	}
	return []fact{f}, nil
}
