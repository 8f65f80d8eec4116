package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// adyenPlatform reads one event for each webhook, {"type", "environment", "timestamp",
// "data"}. Of the balance platform's transfers it maps the payouts: those to a bank
// account or a card. A transfer sends a webhook for each status. The identity is the
// transfer's id, and the status determines the event type. Recurring tokens, which
// Adyen signs the same way, become mandates.
//
// https://docs.adyen.com/platforms/payout-webhooks
var adyenPlatform = Connector{
	Docs:      "https://docs.adyen.com/platforms/payout-webhooks",
	Key:       "data.reference of transfers; none for recurring tokens",
	Tellers:   adyenPlatformTellers,
	normalize: adyenPlatformNormalize,
}

// adyenPlatformTellers lists the event types.
var adyenPlatformTellers = []Teller{
	{Event: "balancePlatform.transfer.created", Facts: []schemas.Type{schemas.PayoutCreated}},
	{Event: "balancePlatform.transfer.updated", Facts: []schemas.Type{schemas.PayoutCreated, schemas.PayoutProcessing, schemas.PayoutSucceeded, schemas.PayoutFailed, schemas.PayoutCancelled, schemas.PayoutExpired, schemas.PayoutReversed}},
	{Event: "recurring.token.alreadyExisting", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "recurring.token.created", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "recurring.token.disabled", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// adyenPlatformExponents lists the currencies whose decimals differ from ISO 4217 at
// Adyen:
// https://docs.adyen.com/development-resources/currency-codes
var adyenPlatformExponents = map[string]int{"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}

// adyenPlatformReaders maps the event's type to the function that reads the data.
var adyenPlatformReaders = map[string]func(event string, data part) (fact, error){
	"balancePlatform.transfer.created": adyenPlatformTransfer,
	"balancePlatform.transfer.updated": adyenPlatformTransfer,

	"recurring.token.created":         adyenPlatformToken,
	"recurring.token.alreadyExisting": adyenPlatformToken,
	"recurring.token.disabled":        adyenPlatformToken,
}

func adyenPlatformNormalize(payload []byte, _ Options) ([]fact, error) {
	var e struct {
		Type        string `json:"type"`
		Environment text   `json:"environment"`
		Timestamp   text   `json:"timestamp"`
		CreatedAt   text   `json:"createdAt"` // recurring tokens have this instead
		EventID     text   `json:"eventId"`
		Data        part   `json:"data"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Type == "" {
		return nil, fmt.Errorf("%w: no type: not a platform webhook of Adyen's", ErrMalformed)
	}
	read, ok := adyenPlatformReaders[e.Type]
	if !ok {
		return []fact{notUnified(e.Type)}, nil
	}
	f, err := read(e.Type, e.Data)
	if err == nil && f.Time.IsZero() {
		f.Time, err = timestamp(first(e.Timestamp, e.CreatedAt), time.RFC3339)
	}
	switch e.Environment {
	case "live":
		f.Mode = modeLive
	case "test":
		f.Mode = modeTest
	}
	f.Identity += string(e.EventID) // of the event that created or disabled a token; transfers have no eventId
	return oneFact(e.Type, f, err)
}

// adyenPlatformTypes maps a payout's status to the event type. "booked" means that the
// money has left the balance account; tracking.status says when it has arrived.
//
// https://docs.adyen.com/api-explorer/transfer-webhooks/latest/post/balancePlatform.transfer.updated
var adyenPlatformTypes = map[text]schemas.Type{
	"received":            schemas.PayoutCreated,
	"authorised":          schemas.PayoutCreated,
	"approvalPending":     schemas.PayoutCreated,
	"pendingApproval":     schemas.PayoutCreated,
	"pending":             schemas.PayoutProcessing,
	"bookingPending":      schemas.PayoutProcessing,
	"bankTransferPending": schemas.PayoutProcessing,
	"bankTransfer":        schemas.PayoutProcessing,
	"booked":              schemas.PayoutProcessing,
	"credited":            schemas.PayoutSucceeded,
	"refused":             schemas.PayoutFailed,
	"rejected":            schemas.PayoutFailed,
	"error":               schemas.PayoutFailed,
	"failed":              schemas.PayoutFailed,
	"cancelled":           schemas.PayoutCancelled,
	"expired":             schemas.PayoutExpired,
	"returned":            schemas.PayoutReversed,
}

// adyenPlatformTransfer reads a transfer; one that is not a payout is ignored.
func adyenPlatformTransfer(event string, data part) (f fact, err error) {
	var t struct {
		ID             string `json:"id"`
		Reference      text   `json:"reference"`
		Category       text   `json:"category"`
		Direction      text   `json:"direction"`
		Status         text   `json:"status"`
		Reason         text   `json:"reason"`
		UpdatedAt      text   `json:"updatedAt"`
		BalanceAccount struct {
			ID text `json:"id"`
		} `json:"balanceAccount"`
		Amount struct {
			Value    *int64 `json:"value"`
			Currency string `json:"currency"`
		} `json:"amount"`
		Tracking struct {
			Status text `json:"status"`
			Reason text `json:"reason"`
		} `json:"tracking"`
	}
	if err := decode(data, &t); err != nil {
		return f, err
	}
	if t.ID == "" {
		return f, fmt.Errorf("%w: the transfer has no id", ErrMalformed)
	}
	if t.Direction != "outgoing" || t.Category != "bank" && t.Category != "card" {
		return ignored(event, fmt.Sprintf("a transfer of direction %q and category %q is not a payout", t.Direction, t.Category)), nil
	}
	typ, ok := adyenPlatformTypes[t.Status]
	switch {
	case !ok:
		return ignored(event, fmt.Sprintf("transfer status %q is not one of a payout", t.Status)), nil
	case typ == schemas.PayoutProcessing && t.Tracking.Status == "credited":
		typ = schemas.PayoutSucceeded
	}
	f.Type, f.Identity = typ, t.ID
	f.Account = string(t.BalanceAccount.ID)
	f.MerchantTransactionID, f.MerchantPayoutID = string(t.Reference), string(t.Reference)
	f.ConnectorPayoutID = t.ID
	switch typ {
	case schemas.PayoutFailed, schemas.PayoutCancelled, schemas.PayoutExpired, schemas.PayoutReversed:
		f.Error = failure(first(t.Tracking.Reason, t.Reason), "", "")
	}
	if f.Amount, err = minor(t.Amount.Value, t.Amount.Currency, adyenPlatformExponents); err != nil {
		return f, err
	}
	f.Time, err = timestamp(t.UpdatedAt, time.RFC3339)
	return f, err
}

// adyenPlatformToken reads a recurring token:
// https://docs.adyen.com/api-explorer/Tokenization-webhooks/1/overview
func adyenPlatformToken(event string, data part) (f fact, err error) {
	var t struct {
		MerchantAccount       text   `json:"merchantAccount"`
		StoredPaymentMethodID string `json:"storedPaymentMethodId"`
		Type                  text   `json:"type"`
	}
	if err := decode(data, &t); err != nil {
		return f, err
	}
	if t.StoredPaymentMethodID == "" {
		return f, fmt.Errorf("%w: the token has no storedPaymentMethodId", ErrMalformed)
	}
	f.Type, f.Identity = schemas.MandateActive, t.StoredPaymentMethodID+":"
	if event == "recurring.token.disabled" {
		f.Type = schemas.MandateRevoked
	}
	f.Account, f.ConnectorMandateID = string(t.MerchantAccount), t.StoredPaymentMethodID
	f.PaymentMethod = methodOfVariant(t.Type)
	return f, nil
}
