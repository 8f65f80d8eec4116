package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// flutterwave reads one event for each webhook, {"event" or, in version 4, "type",
// "data"}. A "completed" event can be about a success or a failure: the status
// decides. Amounts are numbers in major units.
//
// Accounts that never chose the webhooks of version 3, and its test mode, send those of
// version 2. These have no event, but the payment's fields with "event.type", or
// "event.type" and "transfer".
//
// Version 3 has no event id, and version 4 need not sign its event id. The identity is
// the id of the resource; the event type distinguishes its states.
//
// Version 4 has the time at which the event was sent. The times in the data are when
// the resource was created, which can be days before it succeeds or fails. They are
// used only for events about its creation. All others have the time at which they
// were received.
//
// https://developer.flutterwave.com/docs/webhooks
var flutterwave = Connector{
	Docs:      "https://developer.flutterwave.com/docs/webhooks",
	Key:       "data.tx_ref or, in version 4, data.reference; data.reference of transfers; txRef and transfer.reference in version 2",
	Tellers:   flutterwaveTellers(),
	Captures:  CountsOnce, // charge.completed is the end of a charge
	normalize: flutterwaveNormalize,
}

// flutterwaveReaders maps a resource, the first part of the event's name, to the
// function that reads the data.
var flutterwaveReaders = map[string]func(event string, d flutterwaveData) (fact, error){
	"charge":     flutterwaveCharge,
	"transfer":   flutterwaveTransfer,
	"refund":     flutterwaveRefund,
	"chargeback": flutterwaveChargeback,
}

// flutterwaveChargeTypes maps a charge's status to the event type.
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

// flutterwaveTransferTypes maps a transfer's status to the event type.
var flutterwaveTransferTypes = map[string]schemas.Type{
	"new":        schemas.PayoutCreated,
	"initiated":  schemas.PayoutProcessing,
	"pending":    schemas.PayoutProcessing,
	"successful": schemas.PayoutSucceeded,
	"succeeded":  schemas.PayoutSucceeded,
	"failed":     schemas.PayoutFailed,
	"cancelled":  schemas.PayoutCancelled,
	"reversed":   schemas.PayoutReversed,
}

// flutterwaveRefundTypes maps a refund's status to the event type.
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

// flutterwaveChargebackTypes maps a chargeback's status to the event type.
var flutterwaveChargebackTypes = map[string]schemas.Type{
	"initiated": schemas.DisputeOpened,
	"pending":   schemas.DisputeOpened,
	"accepted":  schemas.DisputeAccepted,
	"declined":  schemas.DisputeChallenged, // by the merchant
	"reversed":  schemas.DisputeWon,
	"won":       schemas.DisputeWon,
	"lost":      schemas.DisputeLost,
}

// flutterwaveInitial lists the statuses of a resource that was just created.
var flutterwaveInitial = map[string]bool{"new": true, "initiated": true}

// flutterwaveTellers lists the event types, derived from the tables of the statuses.
// Flutterwave sends all event types to the one URL of an account. The last three are of
// version 2, which has one for each payment method.
func flutterwaveTellers() []Teller {
	charges := distinct(slices.Sorted(maps.Values(flutterwaveChargeTypes))...)
	transfers := distinct(slices.Sorted(maps.Values(flutterwaveTransferTypes))...)
	return []Teller{
		{Event: "charge.completed", Facts: charges},
		{Event: "refund.completed", Facts: distinct(slices.Sorted(maps.Values(flutterwaveRefundTypes))...)},
		{Event: "transfer.completed", Facts: transfers},
		{Event: "transfer.disburse", Facts: transfers},
		{Event: "transfer.reversal", Facts: transfers},
		{Event: "chargeback.created", Facts: distinct(slices.Sorted(maps.Values(flutterwaveChargebackTypes))...)},
		{Event: "CARD_TRANSACTION", Facts: charges},
		{Event: "BANK_TRANSFER_TRANSACTION", Facts: charges},
		{Event: "Transfer", Facts: transfers},
	}
}

type flutterwaveEvent struct {
	Event    text            `json:"event"`
	Type     text            `json:"type"`
	OldType  text            `json:"event.type"`
	SentAt   text            `json:"timestamp"` // of version 4
	Data     flutterwaveData `json:"data"`
	Transfer flutterwaveData `json:"transfer"` // of version 2
}

type flutterwaveData struct {
	ID                  text                `json:"id"`
	TxRef               text                `json:"tx_ref"`
	TxRefV2             text                `json:"txRef"`
	TxID                text                `json:"tx_id"`
	ChargeID            text                `json:"charge_id"`
	TransactionID       text                `json:"transaction_id"`
	Reference           text                `json:"reference"`
	Status              text                `json:"status"`
	Amount              flutterwaveAmount   `json:"amount"`
	AmountRefunded      text                `json:"amount_refunded"`
	Currency            text                `json:"currency"`
	DestinationCurrency text                `json:"destination_currency"` // of version 4's transfers
	PaymentType         text                `json:"payment_type"`
	Created             text                `json:"created_at"`
	CreatedV4           text                `json:"created_datetime"`
	CreatedV2           text                `json:"createdAt"`
	DateCreated         text                `json:"date_created"` // of version 2's transfers
	Response            flutterwaveResponse `json:"processor_response"`
	CompleteMessage     text                `json:"complete_message"`
	Comment             text                `json:"comment"`
	Reason              text                `json:"reason"`
	Card                struct {
		Type text `json:"type"`
	} `json:"card"`
	PaymentMethod struct {
		Type text `json:"type"`
		Card struct {
			Network text `json:"network"`
		} `json:"card"`
	} `json:"payment_method"`
}

// flutterwaveAmount is a number or, in some webhooks of version 4, an object with the
// field value.
type flutterwaveAmount text

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (a *flutterwaveAmount) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return json.UnmarshalDecode(d, (*text)(a))
	}
	var object struct {
		Value text `json:"value"`
	}
	err := json.UnmarshalDecode(d, &object)
	*a = flutterwaveAmount(object.Value)
	return err
}

// flutterwaveResponse is the processor's response: text or, in version 4, an object.
type flutterwaveResponse struct {
	Code text `json:"code"`
	Text text `json:"type"`
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (r *flutterwaveResponse) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	type object flutterwaveResponse
	if d.PeekKind() != '{' {
		return json.UnmarshalDecode(d, &r.Text)
	}
	return json.UnmarshalDecode(d, (*object)(r))
}

func flutterwaveNormalize(payload []byte, _ Options) ([]fact, error) {
	var n struct {
		Event text `json:"event"`
		Type  text `json:"type"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := first(n.Event, n.Type)
	resource, _, _ := strings.Cut(event, ".")
	if event != "" && flutterwaveReaders[resource] == nil {
		return []fact{notUnified(event)}, nil
	}
	var e flutterwaveEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	d := e.Data
	switch {
	case event != "":
	case e.Transfer.ID != "":
		event, resource, d = string(e.OldType), "transfer", e.Transfer
	default:
		d = flutterwaveData{}
		if err := redecode(payload, &d); err != nil {
			return nil, err
		}
		if d.TxRefV2 == "" {
			return nil, fmt.Errorf("%w: no event: not a webhook of Flutterwave's", ErrMalformed)
		}
		event, resource = string(e.OldType), "charge"
		d.PaymentType = text(strings.TrimSuffix(strings.ToLower(event), "_transaction")) // MPESA_TRANSACTION
	}
	if d.ID == "" {
		return oneMalformed(event, fmt.Errorf("%w: no data.id", ErrMalformed))
	}
	f, err := flutterwaveReaders[resource](event, d)
	if sent, bad := strconv.ParseInt(string(e.SentAt), 10, 64); bad == nil {
		f.Time = unixOrMilli(sent)
	} else if err == nil && flutterwaveInitial[d.status()] {
		f.Time, err = timestamp(first(d.Created, d.CreatedV4, d.CreatedV2, d.DateCreated), time.RFC3339)
	}
	switch {
	case err != nil:
		return oneMalformed(event, err)
	case f.Type == "":
		return []fact{statusNotUnified(event, "status", d.Status)}, nil
	}
	f.Identity, f.ConnectorEventType = string(d.ID), event
	return []fact{f}, nil
}

// status returns the status in lower case: Flutterwave writes it in upper or lower
// case.
func (d flutterwaveData) status() string { return strings.ToLower(string(d.Status)) }

// flutterwaveCharge reads a charge, which is a payment.
func flutterwaveCharge(_ string, d flutterwaveData) (f fact, err error) {
	f.Type = flutterwaveChargeTypes[d.status()]
	f.MerchantTransactionID, f.ConnectorTransactionID = first(d.TxRef, d.TxRefV2, d.Reference), string(d.ID)
	f.PaymentMethod = method(first(d.PaymentType, d.PaymentMethod.Type), first(d.Card.Type, d.PaymentMethod.Card.Network))
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(d.Response.Code, d.Response.Text, "")
	}
	f.Amount, err = major(d.Amount, d.Currency)
	if f.Type == schemas.PaymentCaptured {
		f.CapturedAmount = f.Amount
	}
	return f, err
}

// flutterwaveTransfer reads a transfer, which is a payout.
func flutterwaveTransfer(event string, d flutterwaveData) (f fact, err error) {
	f.Type = flutterwaveTransferTypes[d.status()]
	if event == "transfer.reversal" && f.Type == schemas.PayoutSucceeded { // the reversal succeeded
		f.Type = schemas.PayoutReversed
	}
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.Reference), string(d.Reference)
	f.ConnectorPayoutID = string(d.ID)
	if f.Type == schemas.PayoutFailed || f.Type == schemas.PayoutReversed {
		f.Error = failure("", d.CompleteMessage, "")
	}
	f.Amount, err = major(d.Amount, first(d.Currency, d.DestinationCurrency))
	return f, err
}

// flutterwaveRefund reads a refund. It has Flutterwave's id of the payment, and mostly
// no reference of the merchant.
func flutterwaveRefund(_ string, d flutterwaveData) (f fact, err error) {
	f.Type = flutterwaveRefundTypes[d.status()]
	f.MerchantTransactionID = string(d.TxRef)
	f.ConnectorTransactionID = first(d.ChargeID, d.TransactionID, d.TxID)
	f.ConnectorRefundID, f.MerchantRefundID = string(d.ID), string(d.Reference)
	f.Reason = first(d.Reason, d.Comment)
	f.Amount, err = major(first(d.AmountRefunded, text(d.Amount)), d.Currency)
	return f, err
}

// flutterwaveChargeback reads a chargeback.
func flutterwaveChargeback(_ string, d flutterwaveData) (f fact, err error) {
	f.Type, f.Stage = flutterwaveChargebackTypes[d.status()], schemas.StageDispute
	f.MerchantTransactionID = string(d.TxRef)
	f.ConnectorTransactionID = first(d.ChargeID, d.TransactionID, d.TxID)
	f.ConnectorDisputeID, f.Reason = string(d.ID), first(d.Reason, d.Comment)
	f.Amount, err = major(d.Amount, d.Currency)
	return f, err
}
