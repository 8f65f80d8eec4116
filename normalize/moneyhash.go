package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// moneyhash reads one event for each webhook. Events "transaction.<operation>.<status>"
// contain the intent, which is the payment, and the transaction, an attempt to pay it,
// with its operations. Events of intents say that there will be no further attempt.
// Amounts are numbers in major units. The identity is the ids of the operation and of its
// status. A stored card is a token with its own id.
//
// Both kinds of events go to the one webhook URL of the intent, so an event of an
// intent that a transaction processed reports nothing new:
// https://docs.moneyhash.io/docs/payment-webhook
//
// https://docs.moneyhash.io/docs/webhook-types
var moneyhash = Connector{
	Docs:      "https://docs.moneyhash.io/docs/webhook-types",
	Key:       "intent.merchant_reference, else transaction.merchant_reference, else intent.custom_fields.<merchant_id_keys>",
	Tellers:   moneyhashTellers,
	Captures:  CountsTotal, // payment_status.balances.total_captured: https://docs.moneyhash.io/docs/payment-webhook
	normalize: moneyhashNormalize,
}

// moneyhashTellers lists the event types, the most important first. MoneyHash sends all of
// them to the webhook URL of the intent.
var moneyhashTellers = func() (all []Teller) {
	for _, operation := range []string{"purchase", "capture", "authorize", "void", "refund", "disburse"} {
		types := moneyhashTypes[operation]
		for _, status := range slices.Sorted(maps.Keys(types)) {
			all = append(all, Teller{Event: "transaction." + operation + "." + status, Facts: []schemas.Type{types[status]}})
		}
	}
	for _, event := range []text{"intent.time_expired", "intent.closed"} {
		all = append(all, Teller{Event: string(event), Facts: []schemas.Type{
			moneyhashIntentTypes[[2]text{event, "PAYMENT"}], moneyhashIntentTypes[[2]text{event, "PAYOUT"}],
		}})
	}
	return append(all,
		Teller{Event: "card_token.created", Facts: []schemas.Type{schemas.MandateActive}},
		Teller{Event: "card_token.deleted", Facts: []schemas.Type{schemas.MandateRevoked}},
	)
}()

// moneyhashTypes maps an operation and its status to the event type.
var moneyhashTypes = map[string]map[string]schemas.Type{
	"purchase": {
		"pending":                        schemas.PaymentProcessing,
		"pending_authentication":         schemas.PaymentActionRequired,
		"pending_external_action":        schemas.PaymentActionRequired,
		"pending_online_external_action": schemas.PaymentActionRequired,
		"successful":                     schemas.PaymentCaptured,
		"failed":                         schemas.PaymentFailed,
	},
	"authorize": {
		"pending":                        schemas.PaymentProcessing,
		"pending_authentication":         schemas.PaymentActionRequired,
		"pending_external_action":        schemas.PaymentActionRequired,
		"pending_online_external_action": schemas.PaymentActionRequired,
		"successful":                     schemas.PaymentAuthorized,
		"failed":                         schemas.PaymentFailed,
	},
	"capture": {
		"pending":    schemas.PaymentProcessing,
		"successful": schemas.PaymentCaptured,
		"failed":     schemas.PaymentCaptureFailed,
	},
	"void": {
		"successful": schemas.PaymentCancelled,
		"failed":     schemas.PaymentCancelFailed,
	},
	"refund": {
		"pending":    schemas.RefundPending,
		"successful": schemas.RefundSucceeded,
		"failed":     schemas.RefundFailed,
	},
	"disburse": {
		"pending_approval": schemas.PayoutCreated,
		"pending":          schemas.PayoutProcessing,
		"successful":       schemas.PayoutSucceeded,
		"failed":           schemas.PayoutFailed,
	},
}

// moneyhashIntentTypes maps the event of an intent and its intent_type to the event
// type.
var moneyhashIntentTypes = map[[2]text]schemas.Type{
	{"intent.time_expired", "PAYMENT"}: schemas.PaymentExpired,
	{"intent.closed", "PAYMENT"}:       schemas.PaymentCancelled,
	{"intent.time_expired", "PAYOUT"}:  schemas.PayoutExpired,
	{"intent.closed", "PAYOUT"}:        schemas.PayoutCancelled,
}

// moneyhashCardTypes maps an event of a stored card to the event type.
var moneyhashCardTypes = map[text]schemas.Type{
	"card_token.created": schemas.MandateActive,
	"card_token.deleted": schemas.MandateRevoked,
}

type moneyhashEvent struct {
	Type        text `json:"type"`
	StatusID    text `json:"status_id"`
	OperationID text `json:"operation_id"`
	Intent      struct {
		ID                text            `json:"id"`
		MerchantReference text            `json:"merchant_reference"`
		CustomFields      metadata        `json:"custom_fields"`
		Amount            moneyhashAmount `json:"amount"`
		IsLive            *bool           `json:"is_live"`
		PaymentStatus     struct {
			Balances struct {
				TotalAuthorized text `json:"total_authorized"`
				TotalCaptured   text `json:"total_captured"`
			} `json:"balances"`
		} `json:"payment_status"`
	} `json:"intent"`
	Account struct {
		ID text `json:"id"`
	} `json:"account"`
	Transaction struct {
		MerchantReference    text                 `json:"merchant_reference"`
		Operations           []moneyhashOperation `json:"operations"`
		PaymentMethodDetails struct {
			Type text `json:"type"`
			Data struct {
				Brand text `json:"brand"`
			} `json:"data"`
		} `json:"payment_method_details"`
	} `json:"transaction"`

	IntentType text `json:"intent_type"` // this and the following fields are those of intent.* and card_token.*
	Data       struct {
		Intent struct {
			ID                text     `json:"id"`
			MerchantReference text     `json:"merchant_reference"`
			CustomFields      metadata `json:"custom_fields"`
			Account           text     `json:"account"`
			Amount            text     `json:"amount"`
			AmountCurrency    string   `json:"amount_currency"`
			IsLive            *bool    `json:"is_live"`
		} `json:"intent"`
		CardToken struct {
			ID           text     `json:"id"`
			CustomFields metadata `json:"custom_fields"`
			Brand        text     `json:"brand"`
			IsLive       *bool    `json:"is_live"`
		} `json:"card_token"`
	} `json:"data"`
}

type moneyhashAmount struct {
	Value    text   `json:"value"`
	Currency string `json:"currency"`
}

type moneyhashOperation struct {
	ID       text            `json:"id"`
	Amount   moneyhashAmount `json:"amount"`
	Statuses []struct {
		ID                   text   `json:"id"`
		Code                 text   `json:"code"`
		Message              text   `json:"message"`
		ProviderErrorCode    text   `json:"provider_error_code"`
		ProviderErrorMessage text   `json:"provider_error_message"`
		Created              string `json:"created"`
	} `json:"statuses"`
}

func moneyhashNormalize(payload []byte, o Options) ([]fact, error) {
	var n struct {
		Type       text `json:"type"`
		IntentType text `json:"intent_type"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := string(n.Type)
	var read func(moneyhashEvent, Options) (fact, error)
	switch parts := strings.Split(event, "."); {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of MoneyHash's", ErrMalformed)
	case event == "intent.processed":
		return []fact{ignored(event, "the transaction that processed the intent has its own events, at the same URL")}, nil
	case moneyhashIntentTypes[[2]text{n.Type, n.IntentType}] != "":
		read = moneyhashEvent.intent
	case moneyhashCardTypes[n.Type] != "":
		read = moneyhashEvent.card
	case len(parts) == 3 && parts[0] == "transaction" && moneyhashTypes[parts[1]][parts[2]] != "":
		read = func(e moneyhashEvent, o Options) (fact, error) {
			return e.transaction(moneyhashTypes[parts[1]][parts[2]], o)
		}
	default:
		return []fact{notUnified(event)}, nil
	}
	var e moneyhashEvent
	err := redecode(payload, &e)
	var f fact
	if err == nil {
		f, err = read(e, o)
	}
	return oneFact(event, f, err)
}

// intent reads an event of an intent.
func (e moneyhashEvent) intent(o Options) (f fact, err error) {
	i := e.Data.Intent
	if i.ID == "" {
		return f, fmt.Errorf("%w: no data.intent.id", ErrMalformed)
	}
	f.Type, f.Identity = moneyhashIntentTypes[[2]text{e.Type, e.IntentType}], string(i.ID)
	f.MerchantTransactionID = first(string(i.MerchantReference), o.merchantID(i.CustomFields))
	f.Account = string(i.Account)
	if i.IsLive != nil {
		f.Mode = modeOf(*i.IsLive)
	}
	if f.Type.Family() == "payout" {
		f.ConnectorPayoutID = string(i.ID)
	} else {
		f.ConnectorTransactionID = string(i.ID)
	}
	f.Amount, err = major(i.Amount, i.AmountCurrency)
	return f, err
}

// card reads an event of a stored card.
func (e moneyhashEvent) card(o Options) (f fact, err error) {
	c := e.Data.CardToken
	if c.ID == "" {
		return f, fmt.Errorf("%w: no data.card_token.id", ErrMalformed)
	}
	f.Type, f.Identity = moneyhashCardTypes[e.Type], string(c.ID)
	f.MerchantTransactionID, f.ConnectorMandateID = o.merchantID(c.CustomFields), string(c.ID)
	f.PaymentMethod = method("card", c.Brand)
	if c.IsLive != nil {
		f.Mode = modeOf(*c.IsLive)
	}
	return f, nil
}

// transaction reads an event of an operation.
func (e moneyhashEvent) transaction(typ schemas.Type, o Options) (f fact, err error) {
	i, t := e.Intent, e.Transaction
	if i.ID == "" || e.OperationID == "" || e.StatusID == "" {
		return f, fmt.Errorf("%w: no intent.id, operation_id or status_id", ErrMalformed)
	}
	f.Type, f.Identity = typ, string(e.OperationID+":"+e.StatusID)
	f.MerchantTransactionID = first(first(i.MerchantReference, t.MerchantReference), o.merchantID(i.CustomFields))
	f.Account = string(e.Account.ID)
	if i.IsLive != nil {
		f.Mode = modeOf(*i.IsLive)
	}
	amount := i.Amount // the requested amount
	if typ == schemas.PaymentCaptured {
		amount = moneyhashAmount{}
	}
	for _, op := range t.Operations {
		if op.ID == e.OperationID {
			amount = op.Amount
			if err := op.setStatus(e.StatusID, &f); err != nil {
				return f, err
			}
		}
	}
	if f.Amount, err = major(amount.Value, amount.Currency); err != nil {
		return f, err
	}
	if typ.Family() == "payout" {
		f.ConnectorPayoutID = string(i.ID)
		return f, nil
	}
	f.ConnectorTransactionID = string(i.ID)
	f.PaymentMethod = method(t.PaymentMethodDetails.Type, t.PaymentMethodDetails.Data.Brand)
	if typ.Family() == "refund" {
		f.ConnectorRefundID = string(e.OperationID)
		return f, nil
	}
	b := i.PaymentStatus.Balances
	if f.AuthorizedAmount, err = major(b.TotalAuthorized, i.Amount.Currency); err != nil {
		return f, err
	}
	f.CapturedAmount, err = major(b.TotalCaptured, i.Amount.Currency)
	return f, err
}

// setStatus sets the time and the error of the operation's status with the id.
func (op moneyhashOperation) setStatus(id text, f *fact) (err error) {
	for _, s := range op.Statuses {
		if s.ID != id {
			continue
		}
		if strings.HasSuffix(f.Type.Status(), "failed") {
			f.Error = failure(first(s.ProviderErrorCode, s.Code), first(s.ProviderErrorMessage, s.Message), "")
		}
		f.Time, err = timestamp(s.Created, "2006-01-02 15:04:05Z07:00", time.RFC3339)
	}
	return err
}
