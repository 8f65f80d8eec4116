package normalize

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// adyen: a batch of items, {"live", "notificationItems":
// [{"NotificationRequestItem"}]}, or a form that is one item (see verify).
// eventCode says what was tried and success whether it worked; of a dispute,
// additionalData.disputeStatus says more.
//
// pspReference is the item's own id: of the payment for AUTHORISATION, of the
// request for what is done to a payment, and one for all that happens in a
// dispute; originalReference is the payment's then. A redelivery may come with
// another eventDate, so the identity is what is signed and stays: eventCode,
// pspReference and success. What else is signed, verify says: additionalData
// is not.
//
// merchantReference is the merchant's of the payment; of what the merchant asks
// to be done to one, it is that of the request, if that had its own:
// https://github.com/Adyen/adyen-commercetools/blob/master/docs/adr/0011-matching-adyen-notification.md
//
// https://docs.adyen.com/development-resources/webhooks/webhook-types
var adyen = Connector{
	Docs:      "https://docs.adyen.com/development-resources/webhooks/webhook-types",
	Key:       "merchantReference; of captures, cancellations and refunds that of the payment in originalReference, if it is known",
	Normalize: adyenNormalize,
}

// adyenExponents are Adyen's minor units that differ from ISO 4217's:
// https://docs.adyen.com/development-resources/currency-codes
var adyenExponents = map[string]int{"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}

// adyenTypes are the meanings of an eventCode by success. Where one is empty,
// Adyen documents no such item.
var adyenTypes = map[text]struct{ yes, no schemas.Type }{
	"PENDING":                  {schemas.PaymentProcessing, schemas.PaymentFailed},
	"AUTHORISATION":            {schemas.PaymentAuthorized, schemas.PaymentFailed},
	"AUTHORISATION_ADJUSTMENT": {schemas.PaymentAuthorizationAdjusted, schemas.PaymentAuthorizationAdjusted},
	"CAPTURE":                  {schemas.PaymentCaptured, schemas.PaymentCaptureFailed},
	"CAPTURE_FAILED":           {schemas.PaymentCaptureFailed, schemas.PaymentCaptureFailed},
	"CANCELLATION":             {schemas.PaymentCancelled, schemas.PaymentCancelFailed},
	"TECHNICAL_CANCEL":         {schemas.PaymentCancelled, schemas.PaymentCancelFailed},
	"EXPIRE":                   {schemas.PaymentExpired, ""},
	"OFFER_CLOSED":             {schemas.PaymentExpired, ""},
	"CANCEL_OR_REFUND":         {}, // see reversal
	"REVERSAL":                 {},

	"REFUND":              {schemas.RefundSucceeded, schemas.RefundFailed},
	"REFUND_WITH_DATA":    {schemas.RefundSucceeded, schemas.RefundFailed},
	"REFUND_FAILED":       {schemas.RefundFailed, schemas.RefundFailed},
	"REFUNDED_REVERSED":   {schemas.RefundFailed, schemas.RefundFailed},
	"POSTPONED_REFUND":    {schemas.RefundPending, schemas.RefundFailed},
	"VOID_PENDING_REFUND": {schemas.RefundCancelled, ""}, // see typ

	"PAYOUT_THIRDPARTY": {schemas.PayoutCreated, schemas.PayoutFailed},
	"PAYOUT_DECLINE":    {schemas.PayoutFailed, schemas.PayoutFailed},
	"PAYOUT_EXPIRE":     {schemas.PayoutExpired, schemas.PayoutExpired},
	"PAIDOUT_REVERSED":  {schemas.PayoutReversed, schemas.PayoutReversed},

	"RECURRING_CONTRACT": {schemas.MandateActive, schemas.MandateFailed},

	"NOTIFICATION_OF_FRAUD": {schemas.FraudReported, ""},
	"MANUAL_REVIEW_ACCEPT":  {schemas.FraudApproved, ""},
	"MANUAL_REVIEW_REJECT":  {schemas.FraudRejected, ""},
}

// adyenDisputeTypes are the eventCodes of disputes: what they mean, unless
// disputeStatus says otherwise.
//
// https://docs.adyen.com/risk-management/disputes-api/dispute-notifications
// https://github.com/Adyen/php-webhook-module
var adyenDisputeTypes = map[text]struct {
	stage  schemas.Stage
	typ    schemas.Type
	status map[text]schemas.Type
}{
	"REQUEST_FOR_INFORMATION":           {schemas.StagePreDispute, schemas.DisputeOpened, adyenDisputeStatusTypes},
	"NOTIFICATION_OF_CHARGEBACK":        {schemas.StageDispute, schemas.DisputeOpened, adyenDisputeStatusTypes},
	"DISPUTE_OPENED_WITH_CHARGEBACK":    {schemas.StageDispute, schemas.DisputeOpened, adyenDisputeStatusTypes}, // of Adyen's plugins; the page has not got it
	"CHARGEBACK":                        {schemas.StageDispute, schemas.DisputeLost, adyenDisputeStatusTypes},   // debited; without a status there is no defence
	"INFORMATION_SUPPLIED":              {schemas.StageDispute, schemas.DisputeChallenged, nil},
	"DISPUTE_DEFENSE_PERIOD_ENDED":      {schemas.StageDispute, schemas.DisputeLost, adyenDisputeStatusTypes},
	"ISSUER_RESPONSE_TIMEFRAME_EXPIRED": {schemas.StageDispute, schemas.DisputeWon, nil},
	"CHARGEBACK_REVERSED":               {schemas.StageDispute, schemas.DisputeWon, map[text]schemas.Type{"Pending": schemas.DisputeChallenged}},
	"SECOND_CHARGEBACK":                 {schemas.StagePreArbitration, schemas.DisputeLost, nil},
	"PREARBITRATION_OPEN":               {schemas.StagePreArbitration, schemas.DisputeOpened, nil},
	"PREARBITRATION_ACCEPTED":           {schemas.StagePreArbitration, schemas.DisputeAccepted, nil},
	"PREARBITRATION_DECLINED":           {schemas.StagePreArbitration, schemas.DisputeChallenged, nil},
	"PREARBITRATION_ISSUER_WITHDRAWN":   {schemas.StagePreArbitration, schemas.DisputeWon, nil},
	"PREARBITRATION_WON":                {schemas.StagePreArbitration, schemas.DisputeWon, nil},
	"PREARBITRATION_LOST":               {schemas.StagePreArbitration, schemas.DisputeLost, nil},
	"SCHEME_ARBITRATION":                {schemas.StagePreArbitration, schemas.DisputeOpened, nil},
	"SCHEME_ARBITRATION_WON":            {schemas.StagePreArbitration, schemas.DisputeWon, nil},
	"SCHEME_ARBITRATION_LOST":           {schemas.StagePreArbitration, schemas.DisputeLost, nil},
}

var adyenDisputeStatusTypes = map[text]schemas.Type{
	"Undefended":  schemas.DisputeOpened,
	"Pending":     schemas.DisputeOpened,
	"Unresponded": schemas.DisputeOpened,
	"Responded":   schemas.DisputeChallenged,
	"Accepted":    schemas.DisputeAccepted,
	"Expired":     schemas.DisputeExpired,
	"Won":         schemas.DisputeWon,
	"Lost":        schemas.DisputeLost,
}

// adyenItem: https://docs.adyen.com/api-explorer/Webhooks/1/overview
type adyenItem struct {
	PspReference        text `json:"pspReference"`
	OriginalReference   text `json:"originalReference"`
	MerchantAccountCode text `json:"merchantAccountCode"`
	MerchantReference   text `json:"merchantReference"`
	EventCode           text `json:"eventCode"`
	EventDate           text `json:"eventDate"`
	Success             text `json:"success"`
	Reason              text `json:"reason"`
	PaymentMethod       text `json:"paymentMethod"`
	Amount              struct {
		Value    text `json:"value"` // a number, and a string in some older senders
		Currency text `json:"currency"`
	} `json:"amount"`
	More metadata `json:"additionalData"`
}

func adyenNormalize(payload []byte, _ Options) ([]Fact, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return adyenForm(payload)
	}
	var n struct {
		Live  text             `json:"live"`
		Items []jsontext.Value `json:"notificationItems"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	if len(n.Items) == 0 {
		return nil, fmt.Errorf("%w: no notificationItems: not a standard webhook of Adyen's", ErrMalformed)
	}
	return adyenFacts(n.Live, n.Items, adyenRead), nil
}

// adyenFacts reads each item by itself: one that cannot be read is malformed, and
// its neighbours are not.
func adyenFacts[T any](live text, items []T, read func(T) (adyenItem, error)) []Fact {
	var facts []Fact
	for _, item := range items {
		i, err := read(item)
		var f Fact
		if err == nil {
			f, err = i.fact()
		}
		if err != nil {
			f = malformed(i.EventCode, err)
		}
		switch live {
		case "true":
			f.Mode = ModeLive
		case "false":
			f.Mode = ModeTest
		}
		facts = append(facts, f)
	}
	return facts
}

// adyenRead reads an item of a batch. One whose eventCode is not known has no
// more than that, since its fields may be of any shape.
func adyenRead(item jsontext.Value) (i adyenItem, err error) {
	var name struct {
		Item struct {
			EventCode text `json:"eventCode"`
		} `json:"NotificationRequestItem"`
	}
	if err := redecode(item, &name); err != nil {
		return i, err
	}
	i.EventCode = name.Item.EventCode
	if !i.known() {
		return i, nil
	}
	var whole struct {
		Item adyenItem `json:"NotificationRequestItem"`
	}
	if err := redecode(item, &whole); err != nil {
		return i, err
	}
	return whole.Item, nil
}

func adyenForm(payload []byte) ([]Fact, error) {
	form, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	f := func(name string) text { return text(form[name]) }
	i := adyenItem{
		PspReference: f("pspReference"), OriginalReference: f("originalReference"),
		MerchantAccountCode: f("merchantAccountCode"), MerchantReference: f("merchantReference"),
		EventCode: f("eventCode"), EventDate: f("eventDate"), Success: f("success"), Reason: f("reason"),
		PaymentMethod: f("paymentMethod"), More: metadata{},
	}
	i.Amount.Value, i.Amount.Currency = f("value"), f("currency")
	for name := range form {
		if key, more := strings.CutPrefix(name, "additionalData."); more {
			i.More[key] = f(name)
		}
	}
	return adyenFacts(f("live"), []adyenItem{i}, func(i adyenItem) (adyenItem, error) { return i, nil }), nil
}

// known reports whether there are facts of the item's eventCode.
func (i adyenItem) known() bool {
	_, known := adyenTypes[i.EventCode]
	_, disputed := adyenDisputeTypes[i.EventCode]
	return known || disputed
}

func (i adyenItem) fact() (f Fact, err error) {
	switch {
	case i.EventCode != "" && !i.known():
		return notUnified(i.EventCode), nil
	case i.EventCode == "" || i.PspReference == "":
		return f, fmt.Errorf("%w: an item without eventCode or pspReference", ErrMalformed)
	}
	typ, why, err := i.typ()
	if err != nil {
		return f, err
	}
	if typ == "" {
		return ignored(i.EventCode, why), nil
	}
	f.Type, f.Identity = typ, string(i.EventCode+":"+i.PspReference+":"+i.Success)
	f.Account, f.ConnectorEventType = string(i.MerchantAccountCode), string(i.EventCode)
	f.MerchantTransactionID = string(i.MerchantReference)
	f.ConnectorTransactionID = first(i.OriginalReference, i.PspReference)
	if i.requested(typ) {
		f.KeySource = schemas.KeyFromRequest
	}
	if f.Amount, err = i.amount(); err != nil {
		return f, err
	}
	if f.Time, err = timestamp(i.EventDate, time.RFC3339); err != nil {
		return f, err
	}
	return f, i.family(&f)
}

// requested reports whether the item is about what the merchant asked to be
// done to a payment.
func (i adyenItem) requested(typ schemas.Type) bool {
	family := typ.Family()
	return i.OriginalReference != "" && i.MerchantReference != "" && (family == "payment" || family == "refund")
}

// typ is what the item says happened, or why that is nothing to tell.
func (i adyenItem) typ() (t schemas.Type, why string, err error) {
	known := adyenTypes[i.EventCode]
	dispute, disputed := adyenDisputeTypes[i.EventCode]
	switch {
	case i.Success != "true" && i.Success != "false":
		return "", "", fmt.Errorf("%w: success is %q, want true or false", ErrMalformed, i.Success)
	case i.EventCode == "CANCEL_OR_REFUND" || i.EventCode == "REVERSAL":
		return i.reversal()
	case i.EventCode == "VOID_PENDING_REFUND" && i.Success == "false":
		return "", adyenRefundGoesOn, nil
	case i.Success == "false":
		t = known.no
	case disputed:
		t = schemas.Type(first(dispute.status[i.More["disputeStatus"]], dispute.typ))
	default:
		t = known.yes
	}
	if t == "" {
		return "", "", fmt.Errorf("%w: %s with success false is not documented", ErrMalformed, i.EventCode)
	}
	return t, "", nil
}

const adyenRefundGoesOn = "the refund could not be cancelled and goes on: its own event tells"

// adyenRefundVoids are the actions of a reversal that cancels a refund. The page says
// that there is one, and not how it is written: these are the names by which
// Adyen's own requests go, in lower case.
var adyenRefundVoids = map[string]bool{"voidpendingrefund": true, "void_pending_refund": true, "cancelrefund": true, "cancel_refund": true}

// reversal is the request that became a cancellation or a refund, or the end of
// a refund. Of one that failed, Adyen need not say which it would have been:
// the payment stands.
//
// https://docs.adyen.com/online-payments/reversal
// https://docs.adyen.com/api-explorer/Webhooks/1/post/REVERSAL
func (i adyenItem) reversal() (t schemas.Type, why string, err error) {
	ok := i.Success == "true"
	switch action := i.More["modification.action"]; {
	case action == "refund" && ok:
		return schemas.RefundSucceeded, "", nil
	case action == "refund":
		return schemas.RefundFailed, "", nil
	case action == "cancel" && ok:
		return schemas.PaymentCancelled, "", nil
	case adyenRefundVoids[strings.ToLower(string(action))] && ok:
		return schemas.RefundCancelled, "", nil
	case adyenRefundVoids[strings.ToLower(string(action))]:
		return "", adyenRefundGoesOn, nil
	case !ok:
		return schemas.PaymentCancelFailed, "", nil
	default:
		return "", "", fmt.Errorf("%w: modification.action is %q, want cancel or refund", ErrMalformed, action)
	}
}

// amount is the item's; some items, of reports and tokens, have none.
func (i adyenItem) amount() (*schemas.Amount, error) {
	if i.Amount.Value == "" {
		return nil, nil
	}
	value, err := strconv.ParseInt(string(i.Amount.Value), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: amount.value is %q, want minor units", ErrMalformed, i.Amount.Value)
	}
	return minor(&value, i.Amount.Currency, adyenExponents)
}

// family fills in what only facts of one family have.
func (i adyenItem) family(f *Fact) error {
	family := f.Type.Family()
	f.PaymentMethod = methodOfVariant(i.PaymentMethod)
	if i.Success == "false" || strings.HasSuffix(f.Type.Status(), "failed") {
		raw := first(i.More["refusalCodeRaw"], i.More["refusalReasonRaw"])
		f.Error = failure("", first(i.Reason, i.EventCode+" success="+i.Success), raw)
	} else if family != "payment" { // the reason of an authorisation that worked is its code and the card's end
		f.Reason = string(i.Reason)
	}
	switch family {
	case "payment":
		f.NetworkTransactionID = string(i.More["networkTxReference"])
		f.MandateID = string(i.More["recurring.recurringDetailReference"])
		if f.Error == nil && (f.Type == schemas.PaymentAuthorized || f.Type == schemas.PaymentAuthorizationAdjusted) {
			f.AuthorizedAmount = f.Amount
		}
	case "refund":
		f.ConnectorRefundID, f.MerchantRefundID = string(i.PspReference), string(i.MerchantReference)
	case "dispute":
		return i.dispute(f)
	case "payout":
		f.PaymentMethod = nil
		f.ConnectorPayoutID, f.MerchantPayoutID = f.ConnectorTransactionID, string(i.MerchantReference)
	case "mandate":
		f.ConnectorMandateID = string(i.PspReference) // the token; originalReference is the payment that made it
	}
	return nil
}

func (i adyenItem) dispute(f *Fact) (err error) {
	f.ConnectorDisputeID = string(i.PspReference)
	f.ReasonCode = strings.TrimSpace(first(i.More["chargebackReasonCode"], i.More["rfiReasonCode"]))
	f.Stage = adyenDisputeTypes[i.EventCode].stage
	switch i.More["disputeStatus"] {
	case "Unresponded", "Responded", "Expired": // the words for an inquiry, whichever event tells
		f.Stage = schemas.StagePreDispute
	}
	ends, err := timestamp(i.More["defensePeriodEndsAt"], time.RFC3339)
	f.RespondBy = deadline(ends)
	return err
}
