package normalize

import (
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypalMandateTypes maps the last word of the event name to the event type.
var paypalMandateTypes = map[string]schemas.Type{
	"CREATED":      schemas.MandateActive,
	"ACTIVATED":    schemas.MandateActive,
	"RE-ACTIVATED": schemas.MandateActive,
	"SUSPENDED":    schemas.MandateRevoked, // until it is activated again
	"CANCELLED":    schemas.MandateRevoked,
	"EXPIRED":      schemas.MandateRevoked,
	"DELETED":      schemas.MandateRevoked,
}

// paypalMandate reads a subscription, a billing agreement or a stored payment
// method. PayPal also sends a created event for one that the buyer has not
// approved yet; that is no fact.
func paypalMandate(event string, resource part) (f fact, err error) {
	var m struct {
		paypalReference
		ID            text         `json:"id"`
		Status        text         `json:"status"`
		State         text         `json:"state"` // v1
		PaymentSource paypalSource `json:"payment_source"`
	}
	if err := decode(resource, &m); err != nil {
		return f, err
	}
	word := event[strings.LastIndex(event, ".")+1:]
	switch status := strings.ToUpper(first(m.Status, m.State)); {
	case word != "CREATED", status == "", status == "ACTIVE", status == "OK":
	default:
		return ignored(event, fmt.Sprintf("in status %q it cannot be charged yet; its activation has its own event", status)), nil
	}
	f.Type = paypalMandateTypes[word]
	f.ConnectorMandateID, f.MerchantTransactionID = string(m.ID), m.id()
	f.PaymentMethod = m.PaymentSource.method()
	return f, nil
}

// paypalSubscriptionUnpaid reads a failed payment of a subscription. The
// payment has no id: the subscription and the time of the attempt are its identity.
func paypalSubscriptionUnpaid(_ string, resource part) (f fact, err error) {
	var s struct {
		paypalReference
		ID      text `json:"id"`
		Billing struct {
			Failed struct {
				Time       text        `json:"time"`
				Amount     paypalMoney `json:"amount"`
				ReasonCode text        `json:"reason_code"`
			} `json:"last_failed_payment"`
		} `json:"billing_info"`
	}
	if err := decode(resource, &s); err != nil {
		return f, err
	}
	f.Type = schemas.PaymentFailed
	if s.ID != "" && s.Billing.Failed.Time != "" {
		f.Identity = string(s.ID + ":failed:" + s.Billing.Failed.Time)
	}
	f.MandateID, f.MerchantTransactionID = string(s.ID), s.id()
	f.Error = failure(s.Billing.Failed.ReasonCode, "", "")
	f.Amount, err = s.Billing.Failed.Amount.amount()
	return f, err
}
