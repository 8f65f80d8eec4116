package normalize

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tollbridge/tollbridge/schemas"
)

// adyen reads a batch of items, {"live", "notificationItems":
// [{"NotificationRequestItem"}]}, or a form with one item. eventCode is the
// operation and success says whether it worked; for a dispute,
// additionalData.disputeStatus gives the state.
//
// pspReference is the item's own id: the payment's for AUTHORISATION, the
// modification request's for a capture, cancellation or refund, and the dispute's
// for all events of a dispute. originalReference is then the payment's. A redelivery
// may have another eventDate. The identity therefore consists of three fields that are
// signed and do not change: eventCode, pspReference and success. additionalData is not
// signed; package verify documents which fields are.
//
// merchantReference is the merchant's reference of the payment. A modification request
// may have its own reference, which its item then has instead:
// https://github.com/Adyen/adyen-commercetools/blob/master/docs/adr/0011-matching-adyen-notification.md
//
// Adyen captures payments by itself unless the account is set to manual capture, and
// then sends AUTHORISATION and no CAPTURE. No item says how the account captures, so
// the setting capture does. If it is automatic, a successful AUTHORISATION is
// payment.captured; a CAPTURE of such a payment, which some terminals send, is the same
// fact.
//
// https://docs.adyen.com/online-payments/capture
// https://github.com/Adyen/adyen-magento/issues/640
//
// ORDER_CLOSED and REPORT_AVAILABLE are ignored. ORDER_CLOSED sums up the
// AUTHORISATIONs of an order, which a standard webhook always sends. REPORT_AVAILABLE
// names a file.
//
// https://docs.adyen.com/development-resources/webhooks/webhook-types
var adyen = Connector{
	Docs:      "https://docs.adyen.com/development-resources/webhooks/webhook-types",
	Key:       "merchantReference; of captures, cancellations and refunds that of the payment in originalReference, if it is known",
	Settings:  []Setting{adyenCapture, adyenCaptureExceptions},
	Tellers:   adyenTellers(),
	Captures:  CountsParts, // each capture has its own amount: https://docs.adyen.com/online-payments/capture
	normalize: adyenNormalize,
}

// adyenCapture is the setting that says how the account captures payments.
var adyenCapture = Setting{
	Name: "capture",
	Description: "automatic, if Adyen captures payments by itself, at once or after some days (Adyen's default): a successful AUTHORISATION is payment.captured, and no CAPTURE has to come; " +
		"manual (as without the setting), if each payment is captured by a request: AUTHORISATION is payment.authorized, and each CAPTURE is payment.captured. " +
		"A payment whose own request sets captureDelayHours differently is reported as the setting says",
	Values: []string{"automatic", "manual"},
	Unset: "AUTHORISATION is payment.authorized, and an account with automatic capture, which is Adyen's default, never gets payment.captured; " +
		"set capture to automatic, or to manual if each payment is captured by a request",
}

// adyenCaptureExceptions is the setting that lists the payment methods that are not
// captured as the setting capture says.
var adyenCaptureExceptions = Setting{
	Name: "capture_exceptions",
	Description: "payment methods that are not captured as capture says: the beginnings of their names in paymentMethod, separated by commas, or none; " +
		"the default with capture automatic is " + adyenCapturedByRequest + ", and none otherwise. " +
		"Set it without klarna if Adyen captures your Klarna payments automatically; " +
		"with capture manual, name those that cannot be captured by request, such as ideal",
}

// adyenCapturedByRequest lists the prefixes of the payment methods that must be
// captured by a request even if the account is set to automatic capture, unless Adyen's
// support has set them up otherwise. They are the open invoice methods of Adyen's own
// plugin:
//
// https://github.com/Adyen/adyen-magento2/pull/1555
// https://github.com/Adyen/adyen-commercetools/pull/849
const adyenCapturedByRequest = "affirm,afterpay,clearpay,facilypay,klarna,oney,paybright,ratepay,zip"

// adyenTellers lists all event codes with the event types that each can give, derived
// from the tables and functions below.
func adyenTellers() []Teller {
	all := []Teller{
		{Event: "AUTHORISATION", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentCaptured, schemas.PaymentFailed}},
		{Event: "CANCEL_OR_REFUND", Facts: adyenReversals},
		{Event: "REVERSAL", Facts: adyenReversals},
	}
	listed := map[text]bool{"AUTHORISATION": true, "CANCEL_OR_REFUND": true, "REVERSAL": true}
	for _, code := range slices.Sorted(maps.Keys(adyenTypes)) {
		if types := adyenTypes[code]; !listed[code] {
			all = append(all, Teller{Event: string(code), Facts: distinct(types.yes, types.no)})
		}
	}
	for _, code := range slices.Sorted(maps.Keys(adyenDisputeTypes)) {
		d := adyenDisputeTypes[code]
		all = append(all, Teller{Event: string(code), Facts: distinct(append(slices.Sorted(maps.Values(d.status)), d.typ)...)})
	}
	return all
}

// adyenReversals are the types of a reversal: see reversalType.
var adyenReversals = []schemas.Type{schemas.PaymentCancelled, schemas.PaymentCancelFailed, schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundCancelled}

// adyenExponents lists the currencies whose decimals differ from ISO 4217 at Adyen:
// https://docs.adyen.com/development-resources/currency-codes
var adyenExponents = map[string]int{"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}

// adyenTypes maps an eventCode to its event types with success true and false. An empty
// type is a combination that Adyen does not document.
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
	"CANCEL_OR_REFUND":         {}, // see reversalType
	"REVERSAL":                 {},

	"REFUND":              {schemas.RefundSucceeded, schemas.RefundFailed},
	"REFUND_WITH_DATA":    {schemas.RefundSucceeded, schemas.RefundFailed},
	"REFUND_FAILED":       {schemas.RefundFailed, schemas.RefundFailed},
	"REFUNDED_REVERSED":   {schemas.RefundFailed, schemas.RefundFailed},
	"POSTPONED_REFUND":    {schemas.RefundPending, schemas.RefundFailed},
	"VOID_PENDING_REFUND": {schemas.RefundCancelled, ""}, // see eventType

	"PAYOUT_THIRDPARTY": {schemas.PayoutCreated, schemas.PayoutFailed},
	"PAYOUT_DECLINE":    {schemas.PayoutFailed, schemas.PayoutFailed},
	"PAYOUT_EXPIRE":     {schemas.PayoutExpired, schemas.PayoutExpired},
	"PAIDOUT_REVERSED":  {schemas.PayoutReversed, schemas.PayoutReversed},

	"RECURRING_CONTRACT": {schemas.MandateActive, schemas.MandateFailed},

	"NOTIFICATION_OF_FRAUD": {schemas.FraudReported, ""},
	"MANUAL_REVIEW_ACCEPT":  {schemas.FraudApproved, ""},
	"MANUAL_REVIEW_REJECT":  {schemas.FraudRejected, ""},
}

// adyenDisputeTypes maps the eventCode of a dispute to its stage and event type. If the
// third column has the disputeStatus, that event type is used instead.
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
	"DISPUTE_OPENED_WITH_CHARGEBACK":    {schemas.StageDispute, schemas.DisputeOpened, adyenDisputeStatusTypes}, // used by Adyen's plugins, not documented
	"CHARGEBACK":                        {schemas.StageDispute, schemas.DisputeLost, adyenDisputeStatusTypes},   // the account is debited; without a status, no defence is possible
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

// adyenDisputeStatusTypes maps a disputeStatus to the event type.
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

// adyenItem is a NotificationRequestItem:
// https://docs.adyen.com/api-explorer/Webhooks/1/overview
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
		Value    text `json:"value"` // a number, or a string in older webhooks
		Currency text `json:"currency"`
	} `json:"amount"`
	AdditionalData fields `json:"additionalData"`
}

func adyenNormalize(payload []byte, o Options) ([]fact, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return adyenForm(payload, o)
	}
	var n struct {
		Live  text   `json:"live"`
		Items []part `json:"notificationItems"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	if len(n.Items) == 0 {
		return nil, fmt.Errorf("%w: no notificationItems: not a standard webhook of Adyen's", ErrMalformed)
	}
	return adyenFacts(n.Live, n.Items, o, adyenRead), nil
}

// adyenFacts returns the facts of the items. It reads each item separately, so that
// one that cannot be read is malformed without affecting the others.
func adyenFacts[T any](live text, items []T, o Options, read func(T) (adyenItem, error)) []fact {
	var facts []fact
	for _, item := range items {
		i, err := read(item)
		var f fact
		if err == nil {
			f, err = i.fact(o)
		}
		if err != nil {
			f = malformed(i.EventCode, err)
		}
		switch live {
		case "true":
			f.Mode = modeLive
		case "false":
			f.Mode = modeTest
		}
		facts = append(facts, f)
	}
	return facts
}

// adyenRead reads an item of a batch. If the eventCode is in no table, it reads only
// the eventCode: the other fields may have any shape.
func adyenRead(item part) (i adyenItem, err error) {
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
	var n struct {
		Item adyenItem `json:"NotificationRequestItem"`
	}
	if err := redecode(item, &n); err != nil {
		return i, err
	}
	return n.Item, nil
}

// adyenForm reads the form of one item.
func adyenForm(payload []byte, o Options) ([]fact, error) {
	form, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	f := func(name string) text { return text(form[name]) }
	i := adyenItem{
		PspReference: f("pspReference"), OriginalReference: f("originalReference"),
		MerchantAccountCode: f("merchantAccountCode"), MerchantReference: f("merchantReference"),
		EventCode: f("eventCode"), EventDate: f("eventDate"), Success: f("success"), Reason: f("reason"),
		PaymentMethod: f("paymentMethod"), AdditionalData: fields{},
	}
	i.Amount.Value, i.Amount.Currency = f("value"), f("currency")
	for name := range form {
		if key, ok := strings.CutPrefix(name, "additionalData."); ok {
			i.AdditionalData[key] = f(name)
		}
	}
	return adyenFacts(f("live"), []adyenItem{i}, o, func(i adyenItem) (adyenItem, error) { return i, nil }), nil
}

// known reports whether the item's eventCode is in a table.
func (i adyenItem) known() bool {
	_, known := adyenTypes[i.EventCode]
	_, disputed := adyenDisputeTypes[i.EventCode]
	return known || disputed
}

// fact returns the fact of an item, which is ignored if its eventCode is in no table.
func (i adyenItem) fact(o Options) (f fact, err error) {
	switch {
	case i.EventCode != "" && !i.known():
		return notUnified(i.EventCode), nil
	case i.EventCode == "" || i.PspReference == "":
		return f, fmt.Errorf("%w: an item without eventCode or pspReference", ErrMalformed)
	}
	typ, reason, err := i.eventType()
	if err != nil {
		return f, err
	}
	if typ == "" {
		return ignored(i.EventCode, reason), nil
	}
	f.Type, f.Identity = typ, string(i.EventCode+":"+i.PspReference+":"+i.Success)
	f.Account, f.ConnectorEventType = string(i.MerchantAccountCode), string(i.EventCode)
	f.MerchantTransactionID = string(i.MerchantReference)
	f.ConnectorTransactionID = first(i.OriginalReference, i.PspReference)
	if i.isModification(typ) {
		f.KeySource = schemas.KeyFromRequest
	}
	if f.Amount, err = i.amount(); err != nil {
		return f, err
	}
	if f.Time, err = timestamp(i.EventDate, time.RFC3339); err != nil {
		return f, err
	}
	if err := i.setFamilyFields(&f); err != nil {
		return f, err
	}
	if i.capturedAutomatically(o) {
		i.setCaptured(&f)
	}
	return f, nil
}

// capturedAutomatically reports whether Adyen captures the payment by itself, according
// to the endpoint's settings.
func (i adyenItem) capturedAutomatically(o Options) bool {
	automatic := o.Settings[adyenCapture.Name] == "automatic"
	exceptions, set := o.Settings[adyenCaptureExceptions.Name]
	if !set && automatic {
		exceptions = adyenCapturedByRequest
	}
	variant := strings.ToLower(string(i.PaymentMethod))
	names := strings.FieldsFunc(strings.ToLower(exceptions), func(r rune) bool {
		return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	return automatic != slices.ContainsFunc(names, func(name string) bool { return name != "none" && strings.HasPrefix(variant, name) })
}

// setCaptured turns the fact of a successful AUTHORISATION or CAPTURE into that of a
// payment which Adyen captured by itself: one fact, identified by the payment's
// pspReference. An AUTHORISATION without an amount, which stores or checks a card,
// moves no money.
func (i adyenItem) setCaptured(f *fact) {
	switch {
	case i.Success != "true":
	case i.EventCode == "AUTHORISATION" && f.Amount != nil && f.Amount.Value > 0:
		f.Type, f.Identity = schemas.PaymentCaptured, "captured:"+string(i.PspReference)
		f.CapturedAmount = f.Amount
	case i.EventCode == "CAPTURE" && i.OriginalReference != "":
		f.Formerly = []string{f.Identity}
		f.Identity = "captured:" + string(i.OriginalReference)
	}
}

// isModification reports whether the item is about a request of the merchant to
// modify a payment: a capture, a cancellation or a refund.
func (i adyenItem) isModification(typ schemas.Type) bool {
	family := typ.Family()
	return i.OriginalReference != "" && i.MerchantReference != "" && (family == "payment" || family == "refund")
}

// eventType returns the event type of an item or, if it has none, the reason.
func (i adyenItem) eventType() (t schemas.Type, reason string, err error) {
	known := adyenTypes[i.EventCode]
	dispute, disputed := adyenDisputeTypes[i.EventCode]
	switch {
	case i.Success != "true" && i.Success != "false":
		return "", "", fmt.Errorf("%w: success is %q, want true or false", ErrMalformed, i.Success)
	case i.EventCode == "CANCEL_OR_REFUND" || i.EventCode == "REVERSAL":
		return i.reversalType()
	case i.EventCode == "VOID_PENDING_REFUND" && i.Success == "false":
		return "", adyenRefundContinues, nil
	case i.Success == "false":
		t = known.no
	case disputed:
		t = schemas.Type(first(dispute.status[i.AdditionalData["disputeStatus"]], dispute.typ))
	default:
		t = known.yes
	}
	if t == "" {
		return "", "", fmt.Errorf("%w: %s with success false is not documented", ErrMalformed, i.EventCode)
	}
	return t, "", nil
}

// adyenRefundContinues is the reason why a failed void of a refund is ignored.
const adyenRefundContinues = "the refund could not be cancelled and continues: its own event reports the result"

// adyenRefundVoids are the values, in lower case, of a reversal's
// modification.action that mean that a refund was cancelled. Adyen's page does not
// give the value: these are derived from the names of Adyen's API requests.
var adyenRefundVoids = map[string]bool{"voidpendingrefund": true, "void_pending_refund": true, "cancelrefund": true, "cancel_refund": true}

// reversalType returns the event type of a reversal, which Adyen carries out as a
// cancellation, as a refund or as the void of a refund. A failed reversal may have
// no modification.action: the payment is then unchanged, and the cancellation failed.
//
// https://docs.adyen.com/online-payments/reversal
// https://docs.adyen.com/api-explorer/Webhooks/1/post/REVERSAL
func (i adyenItem) reversalType() (t schemas.Type, reason string, err error) {
	ok := i.Success == "true"
	switch action := i.AdditionalData["modification.action"]; {
	case action == "refund" && ok:
		return schemas.RefundSucceeded, "", nil
	case action == "refund":
		return schemas.RefundFailed, "", nil
	case action == "cancel" && ok:
		return schemas.PaymentCancelled, "", nil
	case adyenRefundVoids[strings.ToLower(string(action))] && ok:
		return schemas.RefundCancelled, "", nil
	case adyenRefundVoids[strings.ToLower(string(action))]:
		return "", adyenRefundContinues, nil
	case !ok:
		return schemas.PaymentCancelFailed, "", nil
	default:
		return "", "", fmt.Errorf("%w: modification.action is %q, want cancel or refund", ErrMalformed, action)
	}
}

// amount returns the item's amount, or nil for an item without one, such as a token.
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

// setFamilyFields sets the fields that only events of one family have.
func (i adyenItem) setFamilyFields(f *fact) error {
	family := f.Type.Family()
	f.PaymentMethod = methodOfVariant(i.PaymentMethod)
	if i.Success == "false" || strings.HasSuffix(f.Type.Status(), "failed") {
		raw := first(i.AdditionalData["refusalCodeRaw"], i.AdditionalData["refusalReasonRaw"])
		f.Error = failure("", first(i.Reason, i.EventCode+" success="+i.Success), raw)
	} else if family != "payment" { // for a successful authorisation, reason has the authorisation code and the card's expiry date
		f.Reason = string(i.Reason)
	}
	switch family {
	case "payment":
		f.NetworkTransactionID = string(i.AdditionalData["networkTxReference"])
		f.MandateID = string(i.AdditionalData["recurring.recurringDetailReference"])
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
		f.ConnectorMandateID = string(i.PspReference) // the token; originalReference is the payment that created it
	}
	return nil
}

// dispute sets the fields of a dispute event.
func (i adyenItem) dispute(f *fact) (err error) {
	f.ConnectorDisputeID = string(i.PspReference)
	f.ReasonCode = strings.TrimSpace(first(i.AdditionalData["chargebackReasonCode"], i.AdditionalData["rfiReasonCode"]))
	f.Stage = adyenDisputeTypes[i.EventCode].stage
	switch i.AdditionalData["disputeStatus"] {
	case "Unresponded", "Responded", "Expired": // these statuses mean an inquiry, whatever the eventCode is
		f.Stage = schemas.StagePreDispute
	}
	ends, err := timestamp(i.AdditionalData["defensePeriodEndsAt"], time.RFC3339)
	f.RespondBy = deadline(ends)
	return err
}
