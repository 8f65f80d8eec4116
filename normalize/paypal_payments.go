package normalize

import (
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypalPayment is a capture, an authorization, a sale, or a refund of one of
// these.
// https://developer.paypal.com/docs/api/payments/v2/
type paypalPayment struct {
	paypalReference
	ID     text        `json:"id"`
	Status text        `json:"status"`
	State  text        `json:"state"` // v1
	Amount paypalMoney `json:"amount"`

	StatusDetails struct {
		Reason text `json:"reason"`
	} `json:"status_details"`
	ReasonCode        text `json:"reason_code"` // v1
	ProcessorResponse struct {
		ResponseCode text `json:"response_code"`
	} `json:"processor_response"`
	NetworkTransactionReference struct {
		ID text `json:"id"`
	} `json:"network_transaction_reference"`
	BillingAgreementID text `json:"billing_agreement_id"` // v1

	SaleID            text `json:"sale_id"`    // v1, of a refund
	CaptureID         text `json:"capture_id"` // v1, of a refund
	SupplementaryData struct {
		RelatedIDs struct {
			AuthorizationID text `json:"authorization_id"`
			CaptureID       text `json:"capture_id"`
		} `json:"related_ids"`
	} `json:"supplementary_data"`
	Links paypalLinks `json:"links"`
}

// typ returns the event type by the status of p, or by the last word of the
// event name if there is no status.
func (p paypalPayment) typ(event string, types map[string]schemas.Type) (schemas.Type, error) {
	status := strings.ToUpper(first(p.Status, p.State, text(event[strings.LastIndex(event, ".")+1:])))
	typ, ok := types[status]
	if !ok {
		return "", unknownStatusError{"the status", status}
	}
	return typ, nil
}

// fact returns the fields that the facts of payments and refunds have in
// common.
func (p paypalPayment) fact(event string, types map[string]schemas.Type) (f fact, err error) {
	if f.Type, err = p.typ(event, types); err != nil {
		return f, err
	}
	f.Identity = string(p.ID)
	f.ConnectorTransactionID, f.MerchantTransactionID = string(p.ID), p.id()
	f.Amount, err = p.Amount.amount()
	return f, err
}

// paypalAuthorizationTypes maps the status of an authorization to the event
// type.
var paypalAuthorizationTypes = map[string]schemas.Type{
	"CREATED":            schemas.PaymentAuthorized,
	"AUTHORIZED":         schemas.PaymentAuthorized, // v1
	"CAPTURED":           schemas.PaymentAuthorized, // the capture has its own event
	"PARTIALLY_CAPTURED": schemas.PaymentAuthorized,
	"PENDING":            schemas.PaymentProcessing,
	"DENIED":             schemas.PaymentFailed,
	"EXPIRED":            schemas.PaymentExpired, // v1
	"VOIDED":             schemas.PaymentCancelled,
}

// paypalAuthorization reads an authorization.
func paypalAuthorization(event string, resource part) (f fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	return p.authorization(event)
}

// authorization returns the fact of an authorization.
func (p paypalPayment) authorization(event string) (fact, error) {
	f, err := p.fact(event, paypalAuthorizationTypes)
	p.details(&f)
	if f.Type == schemas.PaymentAuthorized {
		f.AuthorizedAmount = f.Amount
	}
	return f, err
}

// paypalCaptureTypes maps the status of a capture or a sale to the event type.
var paypalCaptureTypes = map[string]schemas.Type{
	"COMPLETED":          schemas.PaymentCaptured,
	"REFUNDED":           schemas.PaymentCaptured, // the refund has its own event
	"PARTIALLY_REFUNDED": schemas.PaymentCaptured,
	"PENDING":            schemas.PaymentProcessing,
	"DECLINED":           schemas.PaymentFailed,
	"DENIED":             schemas.PaymentFailed,
	"FAILED":             schemas.PaymentFailed,
}

// paypalCapture reads a capture or a sale.
func paypalCapture(event string, resource part) (f fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	return p.capture(event)
}

// capture returns the fact of a capture or a sale. A failed capture of an
// authorization has the type payment.capture_failed, any other failure
// payment.failed.
func (p paypalPayment) capture(event string) (fact, error) {
	f, err := p.fact(event, paypalCaptureTypes)
	p.details(&f)
	authorization := first(string(p.SupplementaryData.RelatedIDs.AuthorizationID), p.Links.id("authorizations", "authorization"))
	f.ConnectorReferences = others(f.ConnectorTransactionID, authorization)
	switch {
	case f.Type == schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case f.Type == schemas.PaymentFailed && authorization != "":
		f.Type = schemas.PaymentCaptureFailed
	}
	return f, err
}

// details sets the fields that payments have and refunds do not.
func (p paypalPayment) details(f *fact) {
	f.NetworkTransactionID = string(p.NetworkTransactionReference.ID)
	f.MandateID = string(p.BillingAgreementID)
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(first(p.StatusDetails.Reason, p.ReasonCode), "", p.ProcessorResponse.ResponseCode)
	}
}

// paypalRefundTypes maps the status of a refund to the event type.
var paypalRefundTypes = map[string]schemas.Type{
	"COMPLETED": schemas.RefundSucceeded,
	"REFUNDED":  schemas.RefundSucceeded, // from the event name
	"PENDING":   schemas.RefundPending,
	"FAILED":    schemas.RefundFailed,
	"CANCELLED": schemas.RefundCancelled,
}

// paypalRefund reads a refund.
func paypalRefund(event string, resource part) (f fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	f, err = p.fact(event, paypalRefundTypes)
	p.parent(event, &f)
	if f.MerchantTransactionID != "" {
		f.KeySource, f.MerchantRefundID = schemas.KeyFromRequest, f.MerchantTransactionID
	}
	f.Reason = first(p.StatusDetails.Reason, p.ReasonCode)
	return f, err
}

// paypalReversal reads a payment that PayPal reversed. The resource is the
// refund that PayPal made. Its status does not matter: the money was taken
// back.
func paypalReversal(event string, resource part) (f fact, err error) {
	var p paypalPayment
	if err := decode(resource, &p); err != nil {
		return f, err
	}
	p.Status = "REVERSED"
	f, err = p.fact(event, map[string]schemas.Type{"REVERSED": schemas.PaymentReversed})
	p.parent(event, &f)
	return f, err
}

// parent sets the id of the refund and the id of the refunded payment. For a
// reversed sale, the resource can be the sale itself, with a link to the
// refund.
func (p paypalPayment) parent(event string, f *fact) {
	parent := first(string(p.SaleID), string(p.CaptureID), string(p.SupplementaryData.RelatedIDs.CaptureID),
		p.Links.id("captures", "capture", "sale"))
	id, linked := string(p.ID), p.Links.id("refunds", "refund")
	if parent == "" && linked != id && strings.HasPrefix(event, "PAYMENT.SALE.") {
		parent = id
	}
	if parent == id {
		id = linked
	}
	f.ConnectorTransactionID, f.ConnectorRefundID = parent, id
	f.Identity = id // if it is empty, the id of the event
}
