package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// wallee normalises wallee's webhooks. A webhook names an entity, its id and
// its state, {"eventId", "entityId", "listenerEntityTechnicalName", "state",
// "spaceId", "timestamp"}, and has nothing else: no amounts and no reference of
// the merchant's, and a refund does not name its transaction: the API has them.
// Completions and voids do not name it either, and are ignored: the transaction
// has webhooks of its own for those that succeeded, and one that failed must be
// looked up at wallee.
//
// The identity is the entity, so that two states that mean the same fact have
// one event id: COMPLETED and FULFILL of a transaction.
//
// https://app-wallee.com/en-us/doc/payment/transaction-process
var wallee = Connector{
	Docs:      "https://app-wallee.com/en-us/doc/payment/transaction-process",
	Key:       "none in the webhook: (fetched) metaData.<merchant_id_keys> of the transaction, else its merchantReference",
	Tellers:   walleeTellers,
	Captures:  CountsTotal, // completedAmount: "captured so far" in https://github.com/wallee-payment/typescript-sdk, src/models/Transaction.ts
	normalize: walleeNormalize,
}

// walleeTellers lists the event types.
var walleeTellers = []Teller{
	{Event: "Refund FAILED", Facts: []schemas.Type{schemas.RefundFailed}},
	{Event: "Refund MANUAL_CHECK", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "Refund PENDING", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "Refund SCHEDULED", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "Refund SUCCESSFUL", Facts: []schemas.Type{schemas.RefundSucceeded}},
	{Event: "Token ACTIVE", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "Token DELETED", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "Token INACTIVE", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "Transaction AUTHORIZED", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "Transaction COMPLETED", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "Transaction CONFIRMED", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "Transaction DECLINE", Facts: []schemas.Type{schemas.FraudRejected}},
	{Event: "Transaction FAILED", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "Transaction FULFILL", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "Transaction PROCESSING", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "Transaction VOIDED", Facts: []schemas.Type{schemas.PaymentCancelled}},
}

// walleeTypes maps the entity and its state to the event type.
var walleeTypes = map[string]map[string]schemas.Type{
	"Transaction": {
		"CONFIRMED":  schemas.PaymentProcessing,
		"PROCESSING": schemas.PaymentProcessing,
		"AUTHORIZED": schemas.PaymentAuthorized,
		"COMPLETED":  schemas.PaymentCaptured,
		"FULFILL":    schemas.PaymentCaptured,
		"FAILED":     schemas.PaymentFailed,
		"VOIDED":     schemas.PaymentCancelled,
		"DECLINE":    schemas.FraudRejected, // captured, but the merchant must not deliver
	},
	"Refund": {
		"SCHEDULED":    schemas.RefundPending,
		"PENDING":      schemas.RefundPending,
		"MANUAL_CHECK": schemas.RefundPending,
		"SUCCESSFUL":   schemas.RefundSucceeded,
		"FAILED":       schemas.RefundFailed,
	},
	"Token": {
		"ACTIVE":   schemas.MandateActive,
		"INACTIVE": schemas.MandateRevoked,
		"DELETED":  schemas.MandateRevoked,
	},
}

func walleeNormalize(payload []byte, o Options) ([]fact, error) {
	var e struct {
		EventID   text `json:"eventId"`
		EntityID  text `json:"entityId"`
		Entity    text `json:"listenerEntityTechnicalName"`
		SpaceID   text `json:"spaceId"`
		State     text `json:"state"`
		Timestamp text `json:"timestamp"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	entity, state := string(e.Entity), string(e.State)
	states, ok := walleeTypes[entity]
	switch {
	case entity == "":
		return nil, fmt.Errorf("%w: no listenerEntityTechnicalName: not a webhook of wallee's", ErrMalformed)
	case !ok:
		return []fact{notUnified(entity)}, nil
	}
	event := entity + " " + state
	f := fact{Type: states[state]}
	if f.Type == "" {
		return []fact{ignored(event, fmt.Sprintf("tollbridge has no event type for the state %q, or its details must be fetched", state))}, nil
	}
	if e.EntityID == "" {
		return oneMalformed(event, fmt.Errorf("%w: no entityId: the webhook does not say which %s it is about", ErrMalformed, entity))
	}
	f.Identity, f.Account = entity+"/"+string(e.EntityID), string(e.SpaceID)
	f.ConnectorEventID, f.ConnectorEventType = string(e.EventID), event
	switch f.Type.Family() {
	case "refund":
		f.ConnectorRefundID = string(e.EntityID)
	case "mandate":
		f.ConnectorMandateID = string(e.EntityID)
		f.Identity += "/" + string(e.Timestamp) // a token can become inactive and active again
	default:
		f.ConnectorTransactionID = string(e.EntityID)
	}
	var err error
	if f.Time, err = timestamp(e.Timestamp, "2006-01-02T15:04:05-0700"); err != nil {
		return oneMalformed(event, err)
	}
	switch entity {
	case "Transaction":
		err = f.fillFromWalleeTransaction(e.EntityID, o)
	case "Refund":
		err = f.fillFromWalleeRefund(e.EntityID, o)
	}
	if err != nil {
		return oneMalformed(event, err)
	}
	return []fact{f}, nil
}

// walleeTransaction is a transaction in the API, or the part of it in a refund.
//
// https://github.com/wallee-payment/typescript-sdk, src/models/Transaction.ts
type walleeTransaction struct {
	ID            text     `json:"id"`
	Currency      text     `json:"currency"`
	Authorized    text     `json:"authorizationAmount"`
	Completed     text     `json:"completedAmount"` // captured so far
	Reference     text     `json:"merchantReference"`
	Metadata      metadata `json:"metaData"`
	Environment   text     `json:"authorizationEnvironment"`
	UserFailure   text     `json:"userFailureMessage"`
	FailureReason struct {
		ID text `json:"id"`
	} `json:"failureReason"`
}

// reference returns the merchant's reference.
func (t walleeTransaction) reference(o Options) string {
	return first(o.merchantID(t.Metadata), string(t.Reference))
}

// mode returns the mode of the payment.
func (t walleeTransaction) mode() mode {
	switch t.Environment {
	case "PRODUCTION":
		return modeLive
	case "TEST":
		return modeTest
	}
	return modeUnknown
}

// fillFromWalleeTransaction adds what the API says of the transaction. A part of a
// payment can be captured later, so a captured amount is what was captured when the
// transaction was fetched.
func (f *fact) fillFromWalleeTransaction(id text, o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var t walleeTransaction
	name := "transaction/" + string(id)
	if ok, err := o.document(name, &t); !ok {
		return err
	}
	decimal := t.Authorized
	switch f.Type {
	case schemas.PaymentCaptured, schemas.FraudRejected:
		decimal = t.Completed
	}
	amount, err := major(decimal, t.Currency)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", name, err)
	}
	f.fillAmount(amount)
	f.MerchantTransactionID, f.Mode = t.reference(o), t.mode()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(t.FailureReason.ID, t.UserFailure, "")
	}
	return nil
}

// fillFromWalleeRefund adds what the API says of the refund. Its merchantReference is the
// refund's own; that of the transaction is the payment's.
//
// https://github.com/wallee-payment/typescript-sdk, src/models/Refund.ts
func (f *fact) fillFromWalleeRefund(id text, o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var r struct {
		Amount        text              `json:"amount"`
		Reference     text              `json:"merchantReference"`
		Transaction   walleeTransaction `json:"transaction"`
		FailureReason struct {
			ID text `json:"id"`
		} `json:"failureReason"`
	}
	name := "refund/" + string(id)
	if ok, err := o.document(name, &r); !ok {
		return err
	}
	if r.Transaction.Currency == "" { // only the id of the transaction is in it
		if _, err := o.document("transaction/"+string(r.Transaction.ID), &r.Transaction); err != nil {
			return err
		}
	}
	amount, err := major(r.Amount, r.Transaction.Currency)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", name, err)
	}
	f.fillAmount(amount)
	f.MerchantTransactionID, f.Mode = r.Transaction.reference(o), r.Transaction.mode()
	f.ConnectorTransactionID, f.MerchantRefundID = string(r.Transaction.ID), string(r.Reference)
	if f.Type == schemas.RefundFailed {
		f.Error = failure(r.FailureReason.ID, "", "")
	}
	return nil
}
