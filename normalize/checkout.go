package normalize

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// checkout reads one event for each webhook, {"id", "type", "created_on" or
// "timestamp", "data"}. The data of a payment event is the payment (id) with the
// action that the event is about (action_id). The data of a dispute event is the
// dispute with the disputed payment. A payment with a destination is a payout: it has
// the same event types.
//
// A request to capture, void or refund a payment can have a reference of its own,
// which the event of that action then has:
// https://www.checkout.com/docs/previous/payments/manage-payments/void-a-payment
//
// Events have no account: only some name the processing channel, and the id of a
// payment is unique across channels.
//
// https://www.checkout.com/docs/developer-resources/event-notifications/event-types
var checkout = Connector{
	Docs:      "https://www.checkout.com/docs/developer-resources/event-notifications/event-types",
	Key:       "data.reference, else data.metadata.<merchant_id_keys>; data.payment_reference of disputes",
	Tellers:   tellersOf(checkoutPaymentTypes, checkoutPayoutTypes, checkoutPlatformTypes, checkoutDisputeTypes, map[string]schemas.Type{"fraud_reported": schemas.FraudReported}),
	Captures:  CountsTotal, // balances.total_captured: https://www.checkout.com/docs/developer-resources/event-notifications/event-types/payment_captured
	normalize: checkoutNormalize,
}

// checkoutExponents lists the currencies whose decimals differ from ISO 4217 at
// Checkout.com. Currencies that its page does not list have two decimals:
// https://www.checkout.com/docs/payments/accept-payments/format-the-amount-value
var checkoutExponents = map[string]int{"CLP": 2, "CLF": 2}

// checkoutPaymentTypes maps events about payments, refunds and verified cards to event
// types.
var checkoutPaymentTypes = map[string]schemas.Type{
	"payment_approved":                         schemas.PaymentAuthorized,
	"payment_authorized":                       schemas.PaymentAuthorized,
	"payment_pending":                          schemas.PaymentActionRequired, // the payer has to act, mostly on a page of the bank
	"payment_compliance_review":                schemas.PaymentProcessing,
	"payment_retry_scheduled":                  schemas.PaymentProcessing, // declined, and Checkout.com will retry it
	"payment_declined":                         schemas.PaymentFailed,
	"payment_authentication_failed":            schemas.PaymentFailed,
	"payment_expired":                          schemas.PaymentExpired,
	"payment_canceled":                         schemas.PaymentCancelled,
	"payment_voided":                           schemas.PaymentCancelled,
	"payment_void_declined":                    schemas.PaymentCancelFailed,
	"payment_capture_pending":                  schemas.PaymentProcessing,
	"payment_captured":                         schemas.PaymentCaptured,
	"payment_capture_declined":                 schemas.PaymentCaptureFailed,
	"payment_authorization_incremented":        schemas.PaymentAuthorizationAdjusted,
	"payment_authorization_increment_declined": schemas.PaymentAuthorizationAdjusted,
	"payment_returned":                         schemas.PaymentReversed,

	"payment_refund_pending":  schemas.RefundPending,
	"payment_refunded":        schemas.RefundSucceeded,
	"payment_refund_declined": schemas.RefundFailed,

	"card_verified":              schemas.MandateActive,
	"card_verification_declined": schemas.MandateFailed,
}

// checkoutModifications lists the events about a merchant's request to modify a
// payment.
var checkoutModifications = map[schemas.Type]bool{
	schemas.PaymentCaptured:              true,
	schemas.PaymentCaptureFailed:         true,
	schemas.PaymentCancelled:             true,
	schemas.PaymentCancelFailed:          true,
	schemas.PaymentAuthorizationAdjusted: true,
	schemas.RefundPending:                true,
	schemas.RefundSucceeded:              true,
	schemas.RefundFailed:                 true,
}

// checkoutPayoutTypes maps events about payments with a destination to event types.
var checkoutPayoutTypes = map[string]schemas.Type{
	"payment_approved":          schemas.PayoutProcessing,
	"payment_pending":           schemas.PayoutProcessing,
	"payment_compliance_review": schemas.PayoutProcessing,
	"payment_retry_scheduled":   schemas.PayoutProcessing,
	"payment_paid":              schemas.PayoutSucceeded,
	"payment_declined":          schemas.PayoutFailed,
	"payment_canceled":          schemas.PayoutCancelled,
	"payment_expired":           schemas.PayoutExpired,
	"payment_returned":          schemas.PayoutReversed,
}

// checkoutPlatformTypes maps events about scheduled payouts to the sub-entities of a
// platform to event types:
// https://www.checkout.com/docs/developer-resources/event-notifications/event-types/payout_declined
var checkoutPlatformTypes = map[string]schemas.Type{
	"payout_paid":     schemas.PayoutSucceeded,
	"payout_declined": schemas.PayoutFailed,
	"payout_returned": schemas.PayoutReversed,
}

// checkoutDisputeTypes maps events about disputes to event types.
var checkoutDisputeTypes = map[string]schemas.Type{
	"request_for_information_received":        schemas.DisputeOpened,
	"dispute_received":                        schemas.DisputeOpened,
	"dispute_evidence_required":               schemas.DisputeOpened,
	"dispute_evidence_submitted":              schemas.DisputeChallenged,
	"dispute_evidence_acknowledged_by_scheme": schemas.DisputeChallenged,
	"dispute_accepted":                        schemas.DisputeAccepted,
	"dispute_expired":                         schemas.DisputeExpired,
	"dispute_canceled":                        schemas.DisputeCancelled,
	"dispute_resolved":                        schemas.DisputeCancelled, // an earlier refund of the payment ended the dispute
	"dispute_won":                             schemas.DisputeWon,
	"dispute_lost":                            schemas.DisputeLost,
	"dispute_arbitration_sent_to_scheme":      schemas.DisputeChallenged,
	"dispute_arbitration_evidence_submitted":  schemas.DisputeChallenged,
	"dispute_arbitration_won":                 schemas.DisputeWon,
	"dispute_arbitration_lost":                schemas.DisputeLost,
}

func checkoutNormalize(payload []byte, o Options) ([]fact, error) {
	var n struct {
		Type text `json:"type"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := string(n.Type)
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of Checkout.com's", ErrMalformed)
	case !checkoutKnown(event):
		return []fact{notUnified(event)}, nil
	}
	var e struct {
		ID        text         `json:"id"`
		CreatedOn text         `json:"created_on"`
		Timestamp text         `json:"timestamp"`
		Data      checkoutData `json:"data"`
		Links     struct {
			Self struct {
				Href text `json:"href"`
			} `json:"self"`
		} `json:"_links"`
	}
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	if e.ID == "" {
		return oneMalformed(event, fmt.Errorf("%w: no id of the event", ErrMalformed))
	}
	f, err := e.Data.fact(event, o)
	if err == nil {
		f.Time, err = timestamp(first(e.CreatedOn, e.Timestamp), time.RFC3339)
	}
	f.Mode = checkoutMode(string(e.Links.Self.Href))
	f.Identity, f.ConnectorEventID = string(e.ID), string(e.ID)
	return oneFact(event, f, err)
}

// checkoutKnown reports whether the event's type is in a table.
func checkoutKnown(event string) bool {
	return event == "fraud_reported" || checkoutPaymentTypes[event] != "" || checkoutPayoutTypes[event] != "" ||
		checkoutPlatformTypes[event] != "" || checkoutDisputeTypes[event] != ""
}

// checkoutMode returns modeTest if the event's own URL is on a host of the sandbox.
// Nothing else in a webhook distinguishes the two.
func checkoutMode(self string) mode {
	if u, err := url.Parse(self); err == nil && strings.HasSuffix("."+u.Hostname(), ".sandbox.checkout.com") {
		return modeTest
	}
	return modeUnknown
}

// checkoutData is the data of payment events, and of dispute events.
type checkoutData struct {
	ID              text     `json:"id"`
	ActionID        text     `json:"action_id"`
	Reference       text     `json:"reference"`
	Metadata        metadata `json:"metadata"`
	Amount          *int64   `json:"amount"`
	Currency        string   `json:"currency"`
	ResponseCode    text     `json:"response_code"`
	ResponseSummary text     `json:"response_summary"`
	SchemeID        text     `json:"scheme_id"`
	Source          struct {
		ID     text `json:"id"`
		Type   text `json:"type"`
		Scheme text `json:"scheme"`
	} `json:"source"`
	Destination *struct{} `json:"destination"`
	Balances    struct {
		TotalAuthorized *int64 `json:"total_authorized"`
		TotalCaptured   *int64 `json:"total_captured"`
	} `json:"balances"`

	PayoutID    text `json:"payout_id"`
	Instruction struct {
		SourceAmount        *int64 `json:"source_amount"`
		SourceCurrency      string `json:"source_currency"`
		DestinationAmount   *int64 `json:"destination_amount"`
		DestinationCurrency string `json:"destination_currency"`
	} `json:"instruction"`

	Payment struct {
		ID text `json:"id"`
	} `json:"payment"`
	Fraud struct {
		Reason text `json:"reason"`
		Type   text `json:"type"`
		Amount struct {
			Value    text   `json:"value"`
			Currency string `json:"currency"`
		} `json:"amount"`
	} `json:"fraud"`

	PaymentID          text `json:"payment_id"`
	PaymentReference   text `json:"payment_reference"`
	PaymentMethod      text `json:"payment_method"`
	Category           text `json:"category"`
	ReasonCode         text `json:"reason_code"`
	EvidenceRequiredBy text `json:"evidence_required_by"`
}

// fact returns the fact of an event.
func (d checkoutData) fact(event string, o Options) (f fact, err error) {
	dispute, payment, payout := checkoutDisputeTypes[event], checkoutPaymentTypes[event], checkoutPayoutTypes[event]
	switch {
	case event == "fraud_reported":
		return d.fraud()
	case checkoutPlatformTypes[event] != "":
		f.Type = checkoutPlatformTypes[event]
		return d.platform(f)
	case d.ID == "":
		return f, fmt.Errorf("%w: no data.id: the event does not say what it is about", ErrMalformed)
	case dispute != "":
		f.Type = dispute
		return d.dispute(event, f)
	case payout != "" && (payment == "" || d.Destination != nil):
		f.Type = payout
		return d.payout(f, o)
	default:
		f.Type = payment
		return d.payment(f, o)
	}
}

// failure returns the error of a response code, or nil for an approval (10000 to
// 10999):
// https://www.checkout.com/docs/developer-resources/codes/response-codes
func (d checkoutData) failure() *schemas.Error {
	if strings.HasPrefix(string(d.ResponseCode), "10") {
		return nil
	}
	return failure(d.ResponseCode, d.ResponseSummary, "")
}

// payment sets the fields of a payment, refund or mandate.
func (d checkoutData) payment(f fact, o Options) (fact, error) {
	f.MerchantTransactionID = first(string(d.Reference), o.merchantID(d.Metadata))
	f.ConnectorTransactionID = string(d.ID)
	if checkoutModifications[f.Type] && f.MerchantTransactionID != "" {
		f.KeySource = schemas.KeyFromRequest
	}
	f.Error = d.failure()
	f.PaymentMethod = method(d.Source.Type, d.Source.Scheme)
	var err error
	if f.Amount, err = minor(d.Amount, d.Currency, checkoutExponents); err != nil {
		return f, err
	}
	switch f.Type.Family() {
	case "refund":
		f.ConnectorRefundID, f.MerchantRefundID = string(d.ActionID), string(d.Reference)
	case "mandate":
		f.ConnectorMandateID = string(d.Source.ID)
	default:
		f.NetworkTransactionID, f.MandateID = string(d.SchemeID), string(d.Source.ID)
		if f.Type == schemas.PaymentAuthorized && d.Balances.TotalAuthorized == nil {
			d.Balances.TotalAuthorized = d.Amount
		}
		if f.AuthorizedAmount, err = minor(d.Balances.TotalAuthorized, d.Currency, checkoutExponents); err != nil {
			return f, err
		}
		f.CapturedAmount, err = minor(d.Balances.TotalCaptured, d.Currency, checkoutExponents)
	}
	return f, err
}

// payout sets the fields of a payment with a destination.
func (d checkoutData) payout(f fact, o Options) (fact, error) {
	f.MerchantTransactionID = first(string(d.Reference), o.merchantID(d.Metadata))
	f.MerchantPayoutID, f.ConnectorPayoutID = string(d.Reference), string(d.ID)
	f.Error = d.failure()
	var err error
	f.Amount, err = minor(d.Amount, d.Currency, checkoutExponents)
	return f, err
}

// platform sets the fields of a payout to a sub-entity. The amount is what arrives.
func (d checkoutData) platform(f fact) (fact, error) {
	if d.PayoutID == "" {
		return f, fmt.Errorf("%w: no data.payout_id: the event does not say what it is about", ErrMalformed)
	}
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.Reference), string(d.Reference)
	f.ConnectorPayoutID, f.Error = string(d.PayoutID), d.failure()
	amount, currency := d.Instruction.DestinationAmount, d.Instruction.DestinationCurrency
	if amount == nil {
		amount, currency = d.Instruction.SourceAmount, d.Instruction.SourceCurrency
	}
	var err error
	f.Amount, err = minor(amount, currency, checkoutExponents)
	return f, err
}

// fraud reads the report of a fraudulent payment. Its amounts, unlike all others, are
// decimal text in major units:
// https://www.checkout.com/docs/developer-resources/event-notifications/event-types/fraud_reported
func (d checkoutData) fraud() (f fact, err error) {
	if d.Payment.ID == "" {
		return f, fmt.Errorf("%w: no data.payment.id: the event does not say what it is about", ErrMalformed)
	}
	f.Type = schemas.FraudReported
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.Reference), string(d.Payment.ID)
	f.Reason = first(d.Fraud.Reason, d.Fraud.Type)
	f.Amount, err = major(d.Fraud.Amount.Value, d.Fraud.Amount.Currency)
	return f, err
}

// dispute sets the fields of a dispute.
func (d checkoutData) dispute(event string, f fact) (fact, error) {
	f.MerchantTransactionID = string(d.PaymentReference)
	f.ConnectorTransactionID, f.ConnectorDisputeID = string(d.PaymentID), string(d.ID)
	f.PaymentMethod = method(d.PaymentMethod, "")
	f.Reason, f.ReasonCode = string(d.Category), string(d.ReasonCode)
	switch {
	case event == "request_for_information_received":
		f.Stage = schemas.StagePreDispute
	case strings.HasPrefix(event, "dispute_arbitration_"):
		f.Stage = schemas.StagePreArbitration
	default:
		f.Stage = schemas.StageDispute
	}
	by, err := timestamp(d.EvidenceRequiredBy, time.RFC3339)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(by)
	f.Amount, err = minor(d.Amount, d.Currency, checkoutExponents)
	return f, err
}
