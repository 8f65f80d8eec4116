package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// flutterwave: one event a webhook, {"event" or, in version 4, "type",
// "data"}. An event is called "completed" whether it succeeded or failed: the
// status decides. Amounts are numbers in major units.
//
// Version 3 has no event id, and version 4's is as little signed as the rest.
// The identity is the id of the thing; its state makes the type.
//
// https://developer.flutterwave.com/docs/webhooks
var flutterwave = Connector{
	Docs:      "https://developer.flutterwave.com/docs/webhooks",
	Key:       "data.tx_ref or, in version 4, data.reference; data.reference of transfers",
	Normalize: flutterwaveNormalize,
}

// flutterwaveReaders is what reads the data, by the first word of the event.
var flutterwaveReaders = map[string]func(flutterwaveEvent) (Fact, error){
	"charge":     flutterwaveCharge,
	"transfer":   flutterwaveTransfer,
	"refund":     flutterwaveRefund,
	"chargeback": flutterwaveChargeback,
}

var flutterwaveChargeTypes = map[string]schemas.Type{
	"successful": schemas.PaymentCaptured,
	"succeeded":  schemas.PaymentCaptured,
	"authorized": schemas.PaymentAuthorized,
	"failed":     schemas.PaymentFailed,
	"pending":    schemas.PaymentProcessing,
	"voided":     schemas.PaymentCancelled,
	"cancelled":  schemas.PaymentCancelled,
	"expired":    schemas.PaymentExpired,
}

var flutterwaveTransferTypes = map[string]schemas.Type{
	"new":        schemas.PayoutCreated,
	"pending":    schemas.PayoutProcessing,
	"successful": schemas.PayoutSucceeded,
	"succeeded":  schemas.PayoutSucceeded,
	"failed":     schemas.PayoutFailed,
	"cancelled":  schemas.PayoutCancelled,
	"reversed":   schemas.PayoutReversed,
}

var flutterwaveRefundTypes = map[string]schemas.Type{
	"new":               schemas.RefundPending,
	"pending":           schemas.RefundPending,
	"pending-momo":      schemas.RefundPending,
	"completed":         schemas.RefundSucceeded,
	"completed-bank":    schemas.RefundSucceeded,
	"completed-momo":    schemas.RefundSucceeded,
	"completed-mpgs":    schemas.RefundSucceeded,
	"completed-offline": schemas.RefundSucceeded,
	"successful":        schemas.RefundSucceeded,
	"succeeded":         schemas.RefundSucceeded,
	"failed":            schemas.RefundFailed,
}

var flutterwaveChargebackTypes = map[string]schemas.Type{
	"initiated": schemas.DisputeOpened,
	"pending":   schemas.DisputeOpened,
	"accepted":  schemas.DisputeAccepted,
	"declined":  schemas.DisputeChallenged, // by the merchant
	"reversed":  schemas.DisputeWon,
	"won":       schemas.DisputeWon,
	"lost":      schemas.DisputeLost,
}

type flutterwaveEvent struct {
	Event string `json:"event"`
	Type  string `json:"type"`
	Data  struct {
		ID                text `json:"id"`
		TxRef             text `json:"tx_ref"`
		TxID              text `json:"tx_id"`
		ChargeID          text `json:"charge_id"`
		TransactionID     text `json:"transaction_id"`
		Reference         text `json:"reference"`
		Status            text `json:"status"`
		Amount            text `json:"amount"`
		AmountRefunded    text `json:"amount_refunded"`
		Currency          text `json:"currency"`
		PaymentType       text `json:"payment_type"`
		Created           text `json:"created_at"`
		CreatedV4         text `json:"created_datetime"`
		ProcessorResponse text `json:"processor_response"`
		CompleteMessage   text `json:"complete_message"`
		Comment           text `json:"comment"`
		Reason            text `json:"reason"`
		Card              struct {
			Type text `json:"type"`
		} `json:"card"`
		PaymentMethod struct {
			Type text `json:"type"`
			Card struct {
				Network text `json:"network"`
			} `json:"card"`
		} `json:"payment_method"`
	} `json:"data"`
}

func flutterwaveNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e flutterwaveEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := first(e.Event, e.Type)
	if event == "" {
		return nil, fmt.Errorf("%w: no event: not a webhook of Flutterwave's", ErrMalformed)
	}
	thing, _, _ := strings.Cut(event, ".")
	read, ok := flutterwaveReaders[thing]
	if !ok {
		return []Fact{notUnified(event)}, nil
	}
	if e.Data.ID == "" {
		return []Fact{malformed(event, fmt.Errorf("%w: no data.id", ErrMalformed))}, nil
	}
	f, err := read(e)
	if err == nil {
		f.Time, err = timestamp(first(e.Data.Created, e.Data.CreatedV4), time.RFC3339)
	}
	switch {
	case err != nil:
		return []Fact{malformed(event, err)}, nil
	case f.Type == "":
		return []Fact{ignored(event, fmt.Sprintf("status %q is not one that tollbridge unifies", e.Data.Status))}, nil
	}
	f.Identity, f.ConnectorEventType = string(e.Data.ID), event
	return []Fact{f}, nil
}

// status is in either case.
func (e flutterwaveEvent) status() string { return strings.ToLower(string(e.Data.Status)) }

func flutterwaveCharge(e flutterwaveEvent) (f Fact, err error) {
	d := e.Data
	f.Type = flutterwaveChargeTypes[e.status()]
	f.MerchantTransactionID, f.ConnectorTransactionID = first(d.TxRef, d.Reference), string(d.ID)
	f.PaymentMethod = method(first(d.PaymentType, d.PaymentMethod.Type), first(d.Card.Type, d.PaymentMethod.Card.Network))
	if f.Type == schemas.PaymentFailed {
		f.Error = failure("", string(d.ProcessorResponse), "")
	}
	f.Amount, err = major(string(d.Amount), string(d.Currency))
	if f.Type == schemas.PaymentCaptured {
		f.CapturedAmount = f.Amount
	}
	return f, err
}

func flutterwaveTransfer(e flutterwaveEvent) (f Fact, err error) {
	d := e.Data
	f.Type = flutterwaveTransferTypes[e.status()]
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.Reference), string(d.Reference)
	f.ConnectorPayoutID = string(d.ID)
	if f.Type == schemas.PayoutFailed || f.Type == schemas.PayoutReversed {
		f.Error = failure("", string(d.CompleteMessage), "")
	}
	f.Amount, err = major(string(d.Amount), string(d.Currency))
	return f, err
}

// flutterwaveRefund names the payment by Flutterwave's id only.
func flutterwaveRefund(e flutterwaveEvent) (f Fact, err error) {
	d := e.Data
	f.Type = flutterwaveRefundTypes[e.status()]
	f.MerchantTransactionID = string(d.TxRef)
	f.ConnectorTransactionID = first(d.ChargeID, d.TransactionID, d.TxID)
	f.ConnectorRefundID, f.MerchantRefundID = string(d.ID), string(d.Reference)
	f.Reason = first(d.Reason, d.Comment)
	f.Amount, err = major(first(d.AmountRefunded, d.Amount), string(d.Currency))
	return f, err
}

func flutterwaveChargeback(e flutterwaveEvent) (f Fact, err error) {
	d := e.Data
	f.Type, f.Stage = flutterwaveChargebackTypes[e.status()], schemas.StageDispute
	f.MerchantTransactionID = string(d.TxRef)
	f.ConnectorTransactionID = first(d.ChargeID, d.TransactionID, d.TxID)
	f.ConnectorDisputeID, f.Reason = string(d.ID), first(d.Reason, d.Comment)
	f.Amount, err = major(string(d.Amount), string(d.Currency))
	return f, err
}
