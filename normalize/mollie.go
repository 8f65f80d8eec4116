package normalize

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// mollie reads one event for each next-gen webhook, {"resource": "event", "id", "type",
// "entityId", "createdAt"}. The entity at the time of the event is in _embedded, under
// the name "entity" or, in older webhooks, its type; a webhook that is set up without it
// has none: the fetched payment or event then takes its place.
//
// A classic webhook, id=<id>, has no state. Its facts are those of the fetched payment:
// its status, and each refund, chargeback and capture in it. They have the identities that
// next-gen webhooks give them, so that both kinds can come for one payment.
//
// The identity is the entity and its new state. Several events can report the same
// money without a common id: payment-link.paid has the link and not its payments, and
// capture.succeeded reports each part of what payment.paid sums up. The setting tells
// selects which of them make the event. A sales invoice names the payment or the link
// that paid it.
//
// A refund and a capture have metadata of their own, which may differ from the payment's.
// Mollie has not documented yet which status says who won a dispute: an event with an
// unknown status is ignored.
//
// https://docs.mollie.com/reference/webhooks-new
// https://docs.mollie.com/reference/payments-api-webhooks
// https://docs.mollie.com/reference/payment-links-api-webhooks
// https://docs.mollie.com/reference/captures-api-webhooks
// https://docs.mollie.com/reference/payouts-api-webhooks
// https://docs.mollie.com/reference/transfers-api-webhooks
var mollie = Connector{
	Docs:      "https://docs.mollie.com/reference/webhooks-new",
	Key:       "_embedded.entity.metadata.<merchant_id_keys>",
	Settings:  []Setting{mollieTells},
	Tellers:   mollieTellers,
	Captures:  CountsTotal, // amountCaptured of payments: https://docs.mollie.com/reference/get-payment; a capture and a payment by a reusable link have the amount of their part
	normalize: mollieNormalize,
}

// mollieTells is the setting that selects which events make payment.captured where
// several report the same money.
var mollieTells = Setting{
	Name: "tells",
	Description: "which events make payment.captured where several report the same money: payments (payment.paid alone), captures (the same, but capture.succeeded for payments that are captured by hand) " +
		"or all (each of them: right if only one of them comes for a payment); all if it is not set",
	Values: []string{"payments", "captures", "all"},
	Unset:  "if payment-link.paid, sales-invoice.paid or capture.succeeded come to the endpoint beside payment.paid, the money is published twice: set tells to payments, or to all if only one of them comes for a payment",
}

// molliePaid lists the event types of a "paid" event: the status can claim less than
// the name.
var molliePaid = []schemas.Type{schemas.PaymentCaptured, schemas.PaymentActionRequired, schemas.PaymentProcessing, schemas.PaymentAuthorized, schemas.PaymentFailed, schemas.PaymentCancelled, schemas.PaymentExpired}

// mollieTellers lists the event types, the most important first.
var mollieTellers = []Teller{
	{Event: "payment.paid", Facts: molliePaid},
	{Event: "payment.authorized", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "payment.pending", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "payment.failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "payment.canceled", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "payment.expired", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "capture.succeeded", Facts: molliePaid, Instead: "payment.paid, with the sum of all captures", Tells: "captures"},
	{Event: "capture.failed", Facts: []schemas.Type{schemas.PaymentCaptureFailed}},
	{Event: "payment-link.paid", Facts: molliePaid, Instead: "payment.paid", Tells: "all"},
	{Event: "sales-invoice.paid", Facts: molliePaid, Instead: "payment.paid", Tells: "all"},
	{Event: "refund.queued", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.pending", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.processing", Facts: []schemas.Type{schemas.RefundPending}},
	{Event: "refund.refunded", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed, schemas.RefundCancelled}},
	{Event: "refund.failed", Facts: []schemas.Type{schemas.RefundFailed}},
	{Event: "refund.canceled", Facts: []schemas.Type{schemas.RefundCancelled}},
	{Event: "chargeback.received", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "chargeback.reversed", Facts: []schemas.Type{schemas.DisputeWon}},
	{Event: "dispute.created", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "dispute.updated", Facts: []schemas.Type{schemas.DisputeWon, schemas.DisputeLost}},
	{Event: "dispute.resolved", Facts: []schemas.Type{schemas.DisputeWon, schemas.DisputeLost}},
	{Event: "payout.initiated", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "payout.processing-at-bank", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "payout.completed", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutProcessing, schemas.PayoutFailed, schemas.PayoutCancelled}},
	{Event: "payout.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "payout.canceled", Facts: []schemas.Type{schemas.PayoutCancelled}},
	{Event: "business-account-transfer.requested", Facts: []schemas.Type{schemas.PayoutCreated}},
	{Event: "business-account-transfer.initiated", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "business-account-transfer.pending-review", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "business-account-transfer.processed", Facts: []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutProcessing, schemas.PayoutFailed, schemas.PayoutCancelled}},
	{Event: "business-account-transfer.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "business-account-transfer.blocked", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "business-account-transfer.returned", Facts: []schemas.Type{schemas.PayoutReversed}},
}

// mollieTypes maps an event to the event type; empty if the status decides.
var mollieTypes = map[string]schemas.Type{
	"payment.authorized": schemas.PaymentAuthorized,
	"payment.paid":       schemas.PaymentCaptured,
	"payment.pending":    schemas.PaymentProcessing,
	"payment.failed":     schemas.PaymentFailed,
	"payment.canceled":   schemas.PaymentCancelled,
	"payment.expired":    schemas.PaymentExpired,
	"payment-link.paid":  schemas.PaymentCaptured,
	"sales-invoice.paid": schemas.PaymentCaptured,
	"capture.succeeded":  schemas.PaymentCaptured,
	"capture.failed":     schemas.PaymentCaptureFailed,

	"refund.queued":     schemas.RefundPending,
	"refund.pending":    schemas.RefundPending,
	"refund.processing": schemas.RefundPending,
	"refund.refunded":   schemas.RefundSucceeded,
	"refund.failed":     schemas.RefundFailed,
	"refund.canceled":   schemas.RefundCancelled,

	"chargeback.received": schemas.DisputeOpened,
	"chargeback.reversed": schemas.DisputeWon,
	"dispute.created":     schemas.DisputeOpened,
	"dispute.updated":     "",
	"dispute.resolved":    "",

	"payout.initiated":          schemas.PayoutProcessing,
	"payout.processing-at-bank": schemas.PayoutProcessing,
	"payout.completed":          schemas.PayoutSucceeded,
	"payout.failed":             schemas.PayoutFailed,
	"payout.canceled":           schemas.PayoutCancelled,

	"business-account-transfer.requested":      schemas.PayoutCreated,
	"business-account-transfer.initiated":      schemas.PayoutProcessing,
	"business-account-transfer.pending-review": schemas.PayoutProcessing,
	"business-account-transfer.processed":      schemas.PayoutSucceeded,
	"business-account-transfer.failed":         schemas.PayoutFailed,
	"business-account-transfer.blocked":        schemas.PayoutFailed,
	"business-account-transfer.returned":       schemas.PayoutReversed,
}

// mollieDisputeTypes maps a dispute's status to the event type.
var mollieDisputeTypes = map[text]schemas.Type{
	"won":  schemas.DisputeWon,
	"lost": schemas.DisputeLost,
}

// mollieStatusTypes corrects the type of an event whose name claims more than its
// entity's status: the entity of a "paid" event can still be open.
var mollieStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"open":       schemas.PaymentActionRequired,
		"pending":    schemas.PaymentProcessing,
		"authorized": schemas.PaymentAuthorized,
		"failed":     schemas.PaymentFailed,
		"canceled":   schemas.PaymentCancelled,
		"expired":    schemas.PaymentExpired,
	},
	schemas.RefundSucceeded: {
		"queued":     schemas.RefundPending,
		"pending":    schemas.RefundPending,
		"processing": schemas.RefundPending,
		"failed":     schemas.RefundFailed,
		"canceled":   schemas.RefundCancelled,
	},
	schemas.PayoutSucceeded: {
		"open":       schemas.PayoutProcessing,
		"pending":    schemas.PayoutProcessing,
		"requested":  schemas.PayoutProcessing,
		"initiated":  schemas.PayoutProcessing,
		"processing": schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"canceled":   schemas.PayoutCancelled,
	},
}

type mollieEvent struct {
	ID        text `json:"id"`
	Type      text `json:"type"`
	EntityID  text `json:"entityId"`
	CreatedAt text `json:"createdAt"`
	Embedded  part `json:"_embedded"` // an empty array if there is none
	fetched   part // the entity as it is now, of a webhook without one
	state     part // the entity with the state that the event reports, of a classic webhook
}

type mollieAmount struct {
	Value    text `json:"value"`
	Currency text `json:"currency"`
}

// mollieEntity is the entity of an event; each type has some of the fields.
type mollieEntity struct {
	Mode           text           `json:"mode"`
	Status         text           `json:"status"`
	PaymentID      text           `json:"paymentId"`
	MandateID      text           `json:"mandateId"`
	Method         text           `json:"method"`
	Metadata       mollieMetadata `json:"metadata"`
	Amount         mollieAmount   `json:"amount"`
	AmountCaptured mollieAmount   `json:"amountCaptured"`
	TotalAmount    mollieAmount   `json:"totalAmount"`          // of invoices
	Indicator      text           `json:"creditDebitIndicator"` // of transfers
	StatusReason   struct {
		Code    text `json:"code"`
		Message text `json:"message"`
	} `json:"statusReason"`
	Details struct { // of payments
		FailureReason  text `json:"failureReason"`
		FailureMessage text `json:"failureMessage"`
	} `json:"details"`
	Reason         mollieReason    `json:"reason"`
	CaptureMode    text            `json:"captureMode"`
	Reusable       *bool           `json:"reusable"`       // of payment links
	PaymentDetails mollieInvoicing `json:"paymentDetails"` // of sales invoices
}

// mollieInvoicing says what paid a sales invoice: an object, or an array of one.
type mollieInvoicing struct {
	Source    text `json:"source"`          // manual, payment-link or payment
	Reference text `json:"sourceReference"` // the payment or the link
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (i *mollieInvoicing) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	type object mollieInvoicing
	switch d.PeekKind() {
	case '{':
		return json.UnmarshalDecode(d, (*object)(i))
	case '[':
		var all []object
		err := json.UnmarshalDecode(d, &all)
		if len(all) == 1 {
			*i = mollieInvoicing(all[0])
		}
		return err
	}
	return d.SkipValue()
}

// mollieMetadata is an object, or text with an object in JSON.
type mollieMetadata metadata

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *mollieMetadata) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '"' {
		return (*metadata)(m).UnmarshalJSONFrom(d)
	}
	var s text
	if err := s.UnmarshalJSONFrom(d); err != nil {
		return err
	}
	if json.Unmarshal([]byte(s), (*metadata)(m)) != nil {
		*m = nil // text of another form
	}
	return nil
}

// mollieReason is the reason of a chargeback: an object or text.
type mollieReason struct{ code, description text }

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (r *mollieReason) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return r.description.UnmarshalJSONFrom(d)
	}
	var o struct {
		Code        text `json:"code"`
		Description text `json:"description"`
	}
	err := json.UnmarshalDecode(d, &o)
	r.code, r.description = o.Code, o.Description
	return err
}

// entity returns the entity of the event. All its fields are empty if the webhook has
// no entity.
func (e mollieEvent) entity() (d mollieEntity, err error) {
	if e.fetched != nil {
		err = redecode(e.fetched, &d)
		d.Status = "" // of a later time than the event
		return d, err
	}
	if e.state != nil {
		return d, redecode(e.state, &d)
	}
	if e.Embedded.kind() != '{' {
		return d, nil
	}
	var embedded map[string]part
	if err := redecode(e.Embedded, &embedded); err != nil {
		return d, err
	}
	resource, _, _ := strings.Cut(string(e.Type), ".")
	for _, name := range []string{"entity", resource} {
		if v := embedded[name]; v.kind() == '{' {
			return d, redecode(v, &d)
		}
	}
	return d, nil
}

func mollieNormalize(payload []byte, o Options) ([]fact, error) {
	if bytes.HasPrefix(payload, []byte("id=")) {
		payments := o.fetchedOf("payment")
		if len(payments) == 0 {
			return []fact{ignored("", "a classic webhook has an id and no state: fetch the object")}, nil
		}
		facts, err := mollieState(payments[0].Body, o)
		if err != nil {
			return nil, fmt.Errorf("the fetched %s: %w", payments[0].Name, err)
		}
		return facts, nil
	}
	var e mollieEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Type == "" {
		return nil, fmt.Errorf("%w: no type: not an event of Mollie's", ErrMalformed)
	}
	event := string(e.Type)
	typ, ok := mollieTypes[event]
	if !ok {
		return []fact{notUnified(event)}, nil
	}
	if err := e.complete(o); err != nil {
		return nil, err
	}
	f, err := e.fact(typ, o)
	f.Formerly = []string{cmp.Or(string(e.ID), payloadIdentity(payload))}
	return oneFact(event, f, err)
}

// fact returns the fact of an event.
func (e mollieEvent) fact(typ schemas.Type, o Options) (f fact, err error) {
	if e.EntityID == "" {
		return f, fmt.Errorf("%w: no entityId", ErrMalformed)
	}
	d, err := e.entity()
	if err != nil {
		return f, err
	}
	_, state, _ := strings.Cut(string(e.Type), ".")
	switch {
	case typ == "":
		if typ, state = mollieDisputeTypes[d.Status], string(d.Status); typ == "" {
			return ignored(e.Type, fmt.Sprintf("a dispute in status %q: fetch it to see who won", d.Status)), nil
		}
	case typ.Family() == "payout" && d.Indicator == "credit" && typ != schemas.PayoutReversed:
		return ignored(e.Type, "a third party sent money to the merchant's account"), nil
	}
	if less := mollieStatusTypes[typ][d.Status]; less != "" {
		typ, state = less, string(d.Status)
	}
	f.Type, f.Identity = typ, string(e.EntityID)+":"+state
	f.ConnectorEventID, f.ConnectorEventType = string(e.ID), string(e.Type)
	f.MerchantTransactionID = o.merchantID(metadata(d.Metadata))
	f.MandateID, f.PaymentMethod = string(d.MandateID), method(d.Method, "")
	if d.Mode != "" {
		f.Mode = modeOf(d.Mode != "test")
	}
	switch typ.Family() {
	case "payment":
		f.ConnectorTransactionID = first(d.PaymentID, e.EntityID)
		f.Error = failure(first(d.StatusReason.Code, d.Details.FailureReason), first(d.StatusReason.Message, d.Details.FailureMessage), "")
		if d.PaymentID != "" && f.MerchantTransactionID != "" { // a capture
			f.KeySource = schemas.KeyFromRequest
		}
	case "refund":
		f.ConnectorTransactionID, f.ConnectorRefundID = string(d.PaymentID), string(e.EntityID)
		if f.MerchantTransactionID != "" {
			f.KeySource = schemas.KeyFromRequest
		}
		f.Error = failure(d.StatusReason.Code, d.StatusReason.Message, "")
	case "payout":
		f.ConnectorPayoutID, f.PaymentMethod = string(e.EntityID), nil
		f.Error = failure(d.StatusReason.Code, d.StatusReason.Message, "")
	case "dispute":
		f.ConnectorTransactionID, f.ConnectorDisputeID = string(d.PaymentID), string(e.EntityID)
		f.Stage, f.Reason, f.ReasonCode = schemas.StageDispute, string(d.Reason.description), string(d.Reason.code)
	}
	if f.Time, err = timestamp(e.CreatedAt, time.RFC3339); err != nil {
		return f, err
	}
	for _, amount := range []mollieAmount{d.TotalAmount, d.Amount} {
		if f.Amount == nil {
			if f.Amount, err = major(amount.Value, amount.Currency); err != nil {
				return f, err
			}
		}
	}
	switch {
	case typ == schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case typ == schemas.PaymentCaptured && d.AmountCaptured.Value != "":
		f.CapturedAmount, err = major(d.AmountCaptured.Value, d.AmountCaptured.Currency)
		f.Amount = f.CapturedAmount // it can be less than the authorized amount
	case typ == schemas.PaymentCaptured && d.PaymentID == "" && !e.reusable(d): // a capture has its own amount, not the sum of all captures
		f.CapturedAmount = f.Amount
	}
	if err == nil && typ == schemas.PaymentCaptured {
		return e.captured(f, d, o), nil
	}
	return f, err
}

// reusable reports whether the entity is a link by which several payments can be made, or
// does not say so. The amount of a link is that of each payment.
//
// https://docs.mollie.com/reference/get-payment-link
func (e mollieEvent) reusable(d mollieEntity) bool {
	return e.Type == "payment-link.paid" && (d.Reusable == nil || *d.Reusable)
}

// captured completes the fact of a captured payment. It sets the identity, and returns
// an ignored fact if the setting tells selects another event.
func (e mollieEvent) captured(f fact, d mollieEntity, o Options) fact {
	tells := o.Settings[mollieTells.Name]
	other := "" // the event that reports the payment instead
	switch e.Type {
	case "payment.paid":
		if whole, err := major(d.Amount.Value, d.Amount.Currency); err == nil && whole != nil && f.CapturedAmount != nil && f.CapturedAmount.Value < whole.Value {
			f.Identity += fmt.Sprintf(":%d", f.CapturedAmount.Value) // the rest can be captured later
		}
		if tells == "captures" && d.CaptureMode == "manual" {
			other = "capture.succeeded"
		}
	case "capture.succeeded":
		if tells == "payments" {
			other = "payment.paid"
		}
	case "payment-link.paid":
		if e.reusable(d) { // each payment of the link has the same entity
			f.Identity = cmp.Or(string(e.ID), f.Identity)
		}
		if tells == "payments" || tells == "captures" {
			other = "payment.paid"
		}
	case "sales-invoice.paid":
		paid := d.PaymentDetails
		switch {
		case paid.Source == "manual":
			return ignored(e.Type, "the merchant marked the invoice as paid: the money did not come through Mollie")
		case paid.Source == "payment" && paid.Reference != "":
			f.ConnectorTransactionID, f.ConnectorReferences = string(paid.Reference), others(paid.Reference, e.EntityID)
		case paid.Reference != "":
			f.ConnectorReferences = others(e.EntityID, paid.Reference)
		}
		if paid.Reference != "" { // the payment or the link reports the same fact
			f.Also = []string{f.Identity}
			f.Identity = string(paid.Reference) + ":paid"
		}
		if tells == "payments" || tells == "captures" {
			other = "payment.paid"
		}
	}
	if other == "" {
		return f
	}
	return f.reportedBy(string(e.Type), other)
}

// complete adds the fetched entity to an event that has none.
func (e *mollieEvent) complete(o Options) error {
	if e.Embedded.kind() == '{' {
		return nil
	}
	if body, ok := o.fetched("event/" + string(e.ID)); ok { // the same event, with its entity
		var again mollieEvent
		if err := decode(body, &again); err != nil {
			return fmt.Errorf("the fetched event/%s: %w", e.ID, err)
		}
		if again.ID != e.ID || again.Type != e.Type || again.EntityID != e.EntityID {
			return fmt.Errorf("%w: the fetched event/%s is another event", ErrMalformed, e.ID)
		}
		e.Embedded = again.Embedded
	}
	if body, ok := o.fetched("payment/" + string(e.EntityID)); ok {
		var p molliePaymentState
		if err := decode(body, &p); err != nil {
			return fmt.Errorf("the fetched payment/%s: %w", e.EntityID, err)
		}
		if p.ID != e.EntityID {
			return fmt.Errorf("%w: the fetched payment/%s has the id %q", ErrMalformed, e.EntityID, p.ID)
		}
		e.fetched = body
	}
	return nil
}

// molliePaymentState is a payment as the API returns it.
//
// https://docs.mollie.com/reference/get-payment
type molliePaymentState struct {
	ID           text           `json:"id"`
	Mode         text           `json:"mode"`
	Status       text           `json:"status"`
	Metadata     mollieMetadata `json:"metadata"`
	CaptureMode  text           `json:"captureMode"`
	CreatedAt    text           `json:"createdAt"`
	AuthorizedAt text           `json:"authorizedAt"`
	PaidAt       text           `json:"paidAt"`
	CanceledAt   text           `json:"canceledAt"`
	ExpiredAt    text           `json:"expiredAt"`
	FailedAt     text           `json:"failedAt"`
	Embedded     part           `json:"_embedded"`
}

// molliePart is a refund, a chargeback or a capture of a payment.
type molliePart struct {
	ID         text `json:"id"`
	Status     text `json:"status"`
	CreatedAt  text `json:"createdAt"`
	ReversedAt text `json:"reversedAt"` // of chargebacks; null while they are not reversed
}

// mollieState returns the facts of a fetched payment: one for each state that it shows.
// It reads them as the next-gen events that report them.
func mollieState(body []byte, o Options) ([]fact, error) {
	var p molliePaymentState
	if err := decode(body, &p); err != nil {
		return nil, err
	}
	if p.ID == "" || p.Status == "" {
		return nil, fmt.Errorf("%w: it has the id %q and the status %q", ErrMalformed, p.ID, p.Status)
	}
	var embedded struct {
		Refunds     []part `json:"refunds"`
		Chargebacks []part `json:"chargebacks"`
		Captures    []part `json:"captures"`
	}
	if p.Embedded.kind() == '{' {
		if err := redecode(p.Embedded, &embedded); err != nil {
			return nil, err
		}
	}
	var facts []fact
	add := func(event string, id, at text, entity part) {
		facts = append(facts, p.fact(event, id, at, entity, o))
	}
	if p.AuthorizedAt != "" && p.Status != "authorized" {
		add("payment.authorized", p.ID, p.AuthorizedAt, body)
	}
	if at, ok := map[text]text{
		"pending": p.CreatedAt, "authorized": p.AuthorizedAt, "paid": p.PaidAt, "canceled": p.CanceledAt, "expired": p.ExpiredAt, "failed": p.FailedAt,
	}[p.Status]; ok {
		add("payment."+string(p.Status), p.ID, at, body)
	} else if p.Status == "open" {
		facts = append(facts, ignored("payment.open", "the payer has not chosen how to pay yet"))
	} else {
		facts = append(facts, unknownStatus("payment", "the payment's status", p.Status))
	}
	for _, capture := range embedded.Captures {
		var c molliePart
		if err := redecode(capture, &c); err != nil {
			return nil, err
		}
		// With other values of the setting, the payment's sum reports the captures.
		if c.Status == "failed" || c.Status == "succeeded" && o.Settings[mollieTells.Name] == "captures" && p.CaptureMode == "manual" {
			add("capture."+string(c.Status), c.ID, c.CreatedAt, capture)
		}
	}
	for _, refund := range embedded.Refunds {
		var r molliePart
		if err := redecode(refund, &r); err != nil {
			return nil, err
		}
		at := r.CreatedAt
		if r.Status == "refunded" || r.Status == "failed" || r.Status == "canceled" {
			at = "" // the API does not say when
		}
		add("refund."+string(r.Status), r.ID, at, refund)
	}
	for _, chargeback := range embedded.Chargebacks {
		var c molliePart
		if err := redecode(chargeback, &c); err != nil {
			return nil, err
		}
		add("chargeback.received", c.ID, c.CreatedAt, chargeback)
		if c.ReversedAt != "" {
			add("chargeback.reversed", c.ID, c.ReversedAt, chargeback)
		}
	}
	return facts, nil
}

// fact returns the fact that a next-gen event of that type reports. The entity is the
// payment itself, or the part of it with the id.
func (p molliePaymentState) fact(event string, id, at text, entity part, o Options) fact {
	typ, known := mollieTypes[event]
	if !known {
		return unknownStatus(event, "the status", strings.TrimPrefix(event[strings.Index(event, "."):], "."))
	}
	e := mollieEvent{Type: text(event), EntityID: id, CreatedAt: at, state: entity}
	f, err := e.fact(typ, o)
	if err != nil {
		return malformed(event, err)
	}
	if f.Type == "" {
		return f
	}
	if f.Mode == modeUnknown && p.Mode != "" {
		f.Mode = modeOf(p.Mode != "test")
	}
	f.ConnectorTransactionID = string(p.ID)
	if key := o.merchantID(metadata(p.Metadata)); key != "" {
		f.MerchantTransactionID, f.KeySource = key, ""
	}
	if typ.Family() == "payment" && o.tooOld(f.Time) {
		return ignored(event, "it happened so long ago that its webhook was published before, and is no longer remembered")
	}
	return f
}
