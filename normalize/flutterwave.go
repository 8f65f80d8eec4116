package normalize

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// flutterwave: one event a webhook, {"event" or, in version 4, "type",
// "data"}. An event is called "completed" whether it succeeded or failed: the
// status decides. Amounts are numbers in major units.
//
// Accounts that never chose version 3's webhooks, and its test mode, send what
// version 2 did: no event, the payment's fields beside "event.type", or
// "event.type" and "transfer".
//
// Version 3 has no event id, and version 4's need not be signed. The identity
// is the id of the thing; its state makes the type.
//
// Version 4 says when an event was sent. What the data has is when the thing was
// made, and before it is paid or fails days can pass: only what was made just now
// happened then, and of the rest the time is that of receipt.
//
// https://developer.flutterwave.com/docs/webhooks
var flutterwave = Connector{
	Docs:      "https://developer.flutterwave.com/docs/webhooks",
	Key:       "data.tx_ref or, in version 4, data.reference; data.reference of transfers; txRef and transfer.reference in version 2",
	Normalize: flutterwaveNormalize,
}

// flutterwaveReaders is what reads the data, by the first word of the event.
var flutterwaveReaders = map[string]func(event string, d flutterwaveData) (Fact, error){
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
	"initiated":  schemas.PayoutProcessing,
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

// flutterwaveMade are the states in which a thing is made.
var flutterwaveMade = map[string]bool{"new": true, "initiated": true}

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

// flutterwaveAmount is a number or, where version 4 says which currency it
// counts, an object with the number as its value.
type flutterwaveAmount text

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (a *flutterwaveAmount) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return json.UnmarshalDecode(d, (*text)(a))
	}
	var of struct {
		Value text `json:"value"`
	}
	err := json.UnmarshalDecode(d, &of)
	*a = flutterwaveAmount(of.Value)
	return err
}

// flutterwaveResponse is the bank's answer: a text or, in version 4, an object.
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

func flutterwaveNormalize(payload []byte, _ Options) ([]Fact, error) {
	var n struct {
		Event text `json:"event"`
		Type  text `json:"type"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := first(n.Event, n.Type)
	thing, _, _ := strings.Cut(event, ".")
	if event != "" && flutterwaveReaders[thing] == nil {
		return []Fact{notUnified(event)}, nil
	}
	var e flutterwaveEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	d := e.Data
	switch {
	case event != "":
	case e.Transfer.ID != "":
		event, thing, d = string(e.OldType), "transfer", e.Transfer
	default:
		d = flutterwaveData{}
		if err := redecode(payload, &d); err != nil {
			return nil, err
		}
		if d.TxRefV2 == "" {
			return nil, fmt.Errorf("%w: no event: not a webhook of Flutterwave's", ErrMalformed)
		}
		event, thing = string(e.OldType), "charge"
		d.PaymentType = text(strings.TrimSuffix(strings.ToLower(event), "_transaction")) // MPESA_TRANSACTION
	}
	if d.ID == "" {
		return oneMalformed(event, fmt.Errorf("%w: no data.id", ErrMalformed))
	}
	f, err := flutterwaveReaders[thing](event, d)
	if sent, bad := strconv.ParseInt(string(e.SentAt), 10, 64); bad == nil {
		f.Time = unixOrMilli(sent)
	} else if err == nil && flutterwaveMade[d.status()] {
		f.Time, err = timestamp(first(d.Created, d.CreatedV4, d.CreatedV2, d.DateCreated), time.RFC3339)
	}
	switch {
	case err != nil:
		return oneMalformed(event, err)
	case f.Type == "":
		return []Fact{statusNotUnified(event, "status", d.Status)}, nil
	}
	f.Identity, f.ConnectorEventType = string(d.ID), event
	return []Fact{f}, nil
}

// status is in either case.
func (d flutterwaveData) status() string { return strings.ToLower(string(d.Status)) }

func flutterwaveCharge(_ string, d flutterwaveData) (f Fact, err error) {
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

func flutterwaveTransfer(event string, d flutterwaveData) (f Fact, err error) {
	f.Type = flutterwaveTransferTypes[d.status()]
	if event == "transfer.reversal" && f.Type == schemas.PayoutSucceeded { // the reversal did
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

// flutterwaveRefund names the payment by Flutterwave's id only.
func flutterwaveRefund(_ string, d flutterwaveData) (f Fact, err error) {
	f.Type = flutterwaveRefundTypes[d.status()]
	f.MerchantTransactionID = string(d.TxRef)
	f.ConnectorTransactionID = first(d.ChargeID, d.TransactionID, d.TxID)
	f.ConnectorRefundID, f.MerchantRefundID = string(d.ID), string(d.Reference)
	f.Reason = first(d.Reason, d.Comment)
	f.Amount, err = major(first(d.AmountRefunded, text(d.Amount)), d.Currency)
	return f, err
}

func flutterwaveChargeback(_ string, d flutterwaveData) (f Fact, err error) {
	f.Type, f.Stage = flutterwaveChargebackTypes[d.status()], schemas.StageDispute
	f.MerchantTransactionID = string(d.TxRef)
	f.ConnectorTransactionID = first(d.ChargeID, d.TransactionID, d.TxID)
	f.ConnectorDisputeID, f.Reason = string(d.ID), first(d.Reason, d.Comment)
	f.Amount, err = major(d.Amount, d.Currency)
	return f, err
}
