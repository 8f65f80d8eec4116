package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripeSetupIntent reads a SetupIntent: the attempt to store a payment method.
// https://docs.stripe.com/api/setup_intents/object
func stripeSetupIntent(change stripeChange, o Options) (f fact, err error) {
	var s struct {
		ID                 string       `json:"id"`
		Mandate            text         `json:"mandate"`
		PaymentMethod      text         `json:"payment_method"`
		PaymentMethodTypes []string     `json:"payment_method_types"`
		LastSetupError     *stripeError `json:"last_setup_error"`
		Metadata           metadata     `json:"metadata"`
	}
	if err := redecode(change.object, &s); err != nil {
		return f, err
	}
	f.Type, f.Identity = schemas.MandateActive, s.ID+":succeeded"
	if change.event == "setup_intent.setup_failed" {
		f.Type, f.Identity = schemas.MandateFailed, "" // it can fail several times
		if e := s.LastSetupError; e != nil {
			f.Error, f.PaymentMethod = e.failure(), e.PaymentMethod.method()
		}
	}
	if f.PaymentMethod == nil && len(s.PaymentMethodTypes) == 1 {
		f.PaymentMethod = method(s.PaymentMethodTypes[0], "")
	}
	f.MerchantTransactionID = o.merchantID(s.Metadata)
	f.ConnectorTransactionID = s.ID
	f.ConnectorMandateID = first(s.Mandate, s.PaymentMethod)
	return f, nil
}

// stripeMandate reads a mandate.
// https://docs.stripe.com/api/mandates/object
func stripeMandate(change stripeChange, _ Options) (f fact, err error) {
	var m struct {
		ID     string `json:"id"`
		Status text   `json:"status"`
	}
	if err := redecode(change.object, &m); err != nil {
		return f, err
	}
	switch m.Status {
	case "active":
		f.Type = schemas.MandateActive
	case "inactive":
		f.Type = schemas.MandateRevoked
	default:
		return ignored(change.event, fmt.Sprintf("mandate status %q is neither active nor inactive", m.Status)), nil
	}
	f.ConnectorMandateID = m.ID
	return f, nil
}

// stripeMethodDetached reads a payment method that was stored with a customer
// and can no longer be used.
// https://docs.stripe.com/api/payment_methods/detach
func stripeMethodDetached(change stripeChange, o Options) (f fact, err error) {
	var m struct {
		ID       string   `json:"id"`
		Metadata metadata `json:"metadata"`
		stripeMethodDetails
	}
	if err := redecode(change.object, &m); err != nil {
		return f, err
	}
	f.Type, f.Identity = schemas.MandateRevoked, m.ID+":detached"
	f.MerchantTransactionID = o.merchantID(m.Metadata)
	f.ConnectorMandateID, f.PaymentMethod = m.ID, m.method()
	return f, nil
}
