package normalize

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// razorpay normalises Razorpay's webhooks. One webhook is one event, {"event",
// "account_id", "created_at", "payload"}. The payload holds the entities that
// the event is about, in their state at that time: {"payment": {"entity":
// {...}}, "refund": ...}.
//
// The event id is in a header that is not signed. The identity of a payment, a
// refund or a payout is therefore its own id, and each of its states is one
// fact, whichever event reports it: order.paid and payment.captured are one
// fact. All other identities are the hash of the body, which a redelivery
// repeats byte for byte.
//
// The merchant's reference is in the notes, a free field, or it is the receipt of the
// order, the payment link or the invoice. Not every event has these entities. The
// order's own id is Razorpay's: it links the events of a payment, and is not the
// merchant's reference.
//
// An event name can say less than the status of the entity, and the status decides:
// refund.created comes with a refund that is already processed.
//
// order.paid is sent once, when the order is paid in full: for an order that is paid in
// parts, it reports only the last payment.
// https://razorpay.com/docs/webhooks/all/
var razorpay = Connector{
	Docs: "https://razorpay.com/docs/webhooks/all/",
	Key: "<merchant_id_keys> in the notes of the payment, refund, order, payment_link or invoice, else the order's receipt, which is fetched if the webhook lacks the order, the payment_link's reference_id, the invoice's receipt, " +
		"else <merchant_id_keys> in the notes of the subscription, virtual_account or qr_code; reference_id of payouts, receipt of payout links",
	Tellers:   razorpayTellers(),
	Captures:  CountsOnce, // always the whole amount
	normalize: razorpayNormalize,
}

// razorpayReaders maps an event to the function that reads its entities and to the
// event type. The type is empty where the entity decides, or where the event becomes no
// event of ours.
var razorpayReaders = map[string]struct {
	read func(razorpayEvent, schemas.Type, Options) (fact, error)
	typ  schemas.Type
}{
	"payment.authorized": {razorpayPayment, schemas.PaymentAuthorized},
	"payment.captured":   {razorpayPayment, schemas.PaymentCaptured},
	"payment.failed":     {razorpayPayment, schemas.PaymentFailed},
	"payment.pending":    {razorpayPayment, schemas.PaymentProcessing}, // cash on delivery: the money is not collected yet

	// An order, invoice or link that was paid, with its payment.
	"order.paid":                  {razorpayRequestPaid, ""},
	"invoice.paid":                {razorpayRequestPaid, ""},
	"invoice.partially_paid":      {razorpayRequestPaid, ""},
	"payment_link.paid":           {razorpayRequestPaid, ""},
	"payment_link.partially_paid": {razorpayRequestPaid, ""},
	"subscription.charged":        {razorpayRequestPaid, ""},
	"subscription.pending":        {razorpaySubscriptionPending, ""},
	"virtual_account.credited":    {razorpayRequestPaid, ""},
	"qr_code.credited":            {razorpayRequestPaid, ""},

	"invoice.expired":        {razorpayRequestClosed, schemas.PaymentExpired},
	"payment_link.expired":   {razorpayRequestClosed, schemas.PaymentExpired},
	"payment_link.cancelled": {razorpayRequestClosed, schemas.PaymentCancelled},

	"refund.created":       {razorpayRefund, schemas.RefundPending},
	"refund.processed":     {razorpayRefund, schemas.RefundSucceeded},
	"refund.failed":        {razorpayRefund, schemas.RefundFailed},
	"refund.speed_changed": {razorpayRefund, ""},

	"payment.dispute.created":         {razorpayDispute, schemas.DisputeOpened},
	"payment.dispute.action_required": {razorpayDispute, schemas.DisputeOpened}, // the evidence was not enough, and the merchant has to send more
	"payment.dispute.under_review":    {razorpayDispute, schemas.DisputeChallenged},
	"payment.dispute.won":             {razorpayDispute, schemas.DisputeWon},
	"payment.dispute.lost":            {razorpayDispute, schemas.DisputeLost},
	"payment.dispute.closed":          {razorpayDispute, schemas.DisputeCancelled},

	"payout.pending":       {razorpayPayout, schemas.PayoutCreated}, // waits for approval
	"payout.queued":        {razorpayPayout, schemas.PayoutCreated}, // waits for sufficient balance
	"payout.initiated":     {razorpayPayout, schemas.PayoutProcessing},
	"payout.processed":     {razorpayPayout, schemas.PayoutSucceeded},
	"payout.failed":        {razorpayPayout, schemas.PayoutFailed},
	"payout.reversed":      {razorpayPayout, schemas.PayoutReversed},
	"payout.rejected":      {razorpayPayout, schemas.PayoutCancelled}, // by the merchant's own approvers
	"payout.updated":       {razorpayPayout, ""},
	"settlement.processed": {razorpaySettlement, schemas.PayoutProcessing}, // the transfer was made; no event reports its arrival

	// A link by which the recipient of a payout enters a bank account. The link has
	// an id of its own and is a payout of its own; the payouts that result from it
	// have their own events.
	"payout_link.pending":    {razorpayPayoutLink, schemas.PayoutCreated},
	"payout_link.issued":     {razorpayPayoutLink, schemas.PayoutCreated},
	"payout_link.processing": {razorpayPayoutLink, schemas.PayoutProcessing},
	"payout_link.processed":  {razorpayPayoutLink, schemas.PayoutSucceeded},
	"payout_link.attempted":  {razorpayPayoutLink, schemas.PayoutReversed}, // the payout failed, and can be tried again
	"payout_link.cancelled":  {razorpayPayoutLink, schemas.PayoutCancelled},
	"payout_link.rejected":   {razorpayPayoutLink, schemas.PayoutCancelled}, // by the merchant's own approvers
	"payout_link.expired":    {razorpayPayoutLink, schemas.PayoutExpired},

	"token.confirmed":            {razorpayToken, schemas.MandateActive},
	"token.rejected":             {razorpayToken, schemas.MandateFailed},
	"token.paused":               {razorpayToken, schemas.MandateRevoked}, // by the payer, who can resume it
	"token.cancelled":            {razorpayToken, schemas.MandateRevoked},
	"token.activated":            {razorpayToken, schemas.MandateActive},  // this and the next two: stored cards
	"token.suspended":            {razorpayToken, schemas.MandateRevoked}, // by the bank, until it is activated again
	"token.deactivated":          {razorpayToken, schemas.MandateRevoked},
	"subscription.authenticated": {razorpaySubscription, schemas.MandateActive},
	"subscription.activated":     {razorpaySubscription, schemas.MandateActive},
	"subscription.resumed":       {razorpaySubscription, schemas.MandateActive},
	"subscription.paused":        {razorpaySubscription, schemas.MandateRevoked}, // until it is resumed
	"subscription.halted":        {razorpaySubscription, schemas.MandateRevoked}, // all retries failed; the payer has to change the payment method
	"subscription.cancelled":     {razorpaySubscription, schemas.MandateRevoked},
	"subscription.completed":     {razorpaySubscription, schemas.MandateRevoked},
}

// razorpayInstead maps redundant event types to those that report the same facts. At
// Razorpay, the merchant chooses the event types of a
// webhook. order.paid and similar events report what payment.captured does, but are not
// listed here: they have the merchant's reference, which payment.captured may not have.
var razorpayInstead = map[string]string{
	"subscription.pending": "payment.failed",
	"refund.created":       "refund.processed, refund.failed",
	"refund.speed_changed": "refund.processed",
}

// razorpayTellers lists the event types, derived from the tables of the events and statuses.
func razorpayTellers() (all []Teller) {
	for _, event := range slices.Sorted(maps.Keys(razorpayReaders)) {
		typ := razorpayReaders[event].typ
		switch {
		case event == "refund.speed_changed":
			typ = schemas.RefundSucceeded
		case event == "subscription.pending":
			typ = schemas.PaymentFailed
		case strings.HasSuffix(event, "paid") || strings.HasSuffix(event, "credited") || strings.HasSuffix(event, "charged"):
			typ = schemas.PaymentCaptured
		case typ == "":
			continue // it makes no event
		}
		facts := distinct(append([]schemas.Type{typ}, slices.Sorted(maps.Values(razorpayStatusTypes[typ]))...)...)
		all = append(all, Teller{Event: event, Facts: facts, Instead: razorpayInstead[event]})
	}
	return all
}

// razorpayEvent is the body of a webhook.
type razorpayEvent struct {
	Event     string `json:"event"`
	AccountID text   `json:"account_id"`
	CreatedAt int64  `json:"created_at"` // see at
	Payload   struct {
		CreatedAt      int64                               `json:"created_at"` // in some events only here
		Payment        razorpayEntity[razorpayPaymentData] `json:"payment"`
		Order          razorpayEntity[razorpayRequestData] `json:"order"`
		Invoice        razorpayEntity[razorpayRequestData] `json:"invoice"`
		PaymentLink    razorpayEntity[razorpayRequestData] `json:"payment_link"`
		VirtualAccount razorpayEntity[razorpayNotesData]   `json:"virtual_account"`
		QRCode         razorpayEntity[razorpayNotesData]   `json:"qr_code"`
		Refund         razorpayEntity[razorpayRefundData]  `json:"refund"`
		Dispute        razorpayEntity[razorpayDisputeData] `json:"dispute"`
		Payout         razorpayEntity[razorpayPayoutData]  `json:"payout"`
		PayoutLink     razorpayEntity[razorpayPayoutData]  `json:"payout_link"`
		Settlement     razorpayEntity[razorpayPayoutData]  `json:"settlement"`
		Token          razorpayEntity[razorpayMandateData] `json:"token"`
		Subscription   razorpayEntity[razorpayMandateData] `json:"subscription"`
	} `json:"payload"`
}

// razorpayEntity is the wrapper of each entity in the payload.
type razorpayEntity[Data any] struct {
	Entity Data `json:"entity"`
}

func razorpayNormalize(payload []byte, o Options) ([]fact, error) {
	var envelope struct {
		Event text `json:"event"`
	}
	if err := decode(payload, &envelope); err != nil {
		return nil, err
	}
	name := string(envelope.Event)
	event, ok := razorpayReaders[name]
	switch {
	case name == "":
		return nil, fmt.Errorf("%w: no event: not an event of Razorpay's", ErrMalformed)
	case !ok:
		return []fact{notUnified(name)}, nil
	}
	var e razorpayEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(name, err)
	}
	f, err := event.read(e, event.typ, o)
	f.Time, f.Account = e.at(), string(e.AccountID)
	if err == nil {
		err = f.fillFromRazorpay(e.Payload.Payment.Entity.OrderID, o)
	}
	return oneFact(name, f, err)
}

// fillFromRazorpay adds the merchant's reference of the order, which was fetched for a
// payment whose webhook has none.
func (f *fact) fillFromRazorpay(order text, o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var r razorpayRequestData
	if ok, err := o.document("order/"+string(order), &r); !ok {
		return err
	}
	fill(&f.MerchantTransactionID, first(o.merchantID(r.Notes), string(r.Receipt)))
	return nil
}

// at returns when the fact happened. In the created_at of a payment link's
// event, and perhaps of an invoice's, Razorpay's samples have the time at which
// the link was created. For these, at returns the link's own time of the
// change, or when the link was last updated.
func (e razorpayEvent) at() time.Time {
	p := e.Payload
	happened := cmp.Or(e.CreatedAt, p.CreatedAt)
	link := p.PaymentLink.Entity
	if link.ID == "" {
		link = p.Invoice.Entity
	}
	if link.ID == "" {
		return unix(happened)
	}
	var own int64
	switch e.Event {
	case "invoice.paid":
		own = link.PaidAt
	case "invoice.expired", "payment_link.expired":
		own = link.ExpiredAt
	case "payment_link.cancelled":
		own = link.CancelledAt
	}
	switch {
	case own != 0:
		return unix(own)
	case link.UpdatedAt > link.CreatedAt:
		return unix(link.UpdatedAt)
	case link.CreatedAt != 0 && happened > link.CreatedAt && happened >= p.Payment.Entity.CreatedAt:
		return unix(happened)
	}
	return unix(p.Payment.Entity.CreatedAt)
}

// razorpayStatusTypes corrects the type of an event name where the status of the
// entity says otherwise: the status decides.
var razorpayStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentAuthorized: {
		"captured": schemas.PaymentCaptured,
		"refunded": schemas.PaymentCaptured,
		"failed":   schemas.PaymentFailed,
	},
	schemas.PaymentCaptured: {
		"created":    schemas.PaymentProcessing,
		"pending":    schemas.PaymentProcessing,
		"authorized": schemas.PaymentAuthorized,
		"failed":     schemas.PaymentFailed,
	},
	schemas.RefundPending: {
		"processed": schemas.RefundSucceeded,
		"failed":    schemas.RefundFailed,
	},
	schemas.RefundSucceeded: {
		"pending": schemas.RefundPending,
		"failed":  schemas.RefundFailed,
	},
	schemas.PayoutSucceeded: {
		"pending":    schemas.PayoutCreated,
		"queued":     schemas.PayoutCreated,
		"processing": schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"reversed":   schemas.PayoutReversed,
		"rejected":   schemas.PayoutCancelled,
		"cancelled":  schemas.PayoutCancelled,
	},
}

// razorpayMissing returns the error for an event without the entity that it is
// about.
func razorpayMissing(entity string) error {
	return fmt.Errorf("%w: no id of payload.%s.entity", ErrMalformed, entity)
}

// razorpayPaymentData is a payment.
// https://razorpay.com/docs/api/payments/entity/
type razorpayPaymentData struct {
	ID               string   `json:"id"`
	Status           text     `json:"status"`
	Captured         *bool    `json:"captured"` // false also for an authorized payment that was refunded
	Amount           *int64   `json:"amount"`
	Currency         string   `json:"currency"`
	OrderID          text     `json:"order_id"`
	Notes            metadata `json:"notes"`
	Method           text     `json:"method"`
	CreatedAt        int64    `json:"created_at"`
	Wallet           text     `json:"wallet"`
	TokenID          text     `json:"token_id"`
	ErrorCode        text     `json:"error_code"`
	ErrorReason      text     `json:"error_reason"`
	ErrorDescription text     `json:"error_description"`
	Card             struct {
		Network text `json:"network"`
	} `json:"card"`
}

// neverCaptured reports whether the payment was refunded before it was captured.
// Razorpay refunds payments that are not captured in time. The merchant never had the
// money.
func (p razorpayPaymentData) neverCaptured() bool { return p.Captured != nil && !*p.Captured }

// key returns the merchant's reference of the payment that the event is about,
// from any of the entities in the payload. Those that can have several payments
// come last.
func (e razorpayEvent) key(o Options, own metadata) string {
	p := e.Payload
	return first(o.merchantID(p.Payment.Entity.Notes, own, p.Order.Entity.Notes, p.PaymentLink.Entity.Notes, p.Invoice.Entity.Notes),
		string(p.Order.Entity.Receipt), string(p.PaymentLink.Entity.ReferenceID), string(p.Invoice.Entity.Receipt),
		o.merchantID(p.Subscription.Entity.Notes, p.VirtualAccount.Entity.Notes, p.QRCode.Entity.Notes))
}

// references returns Razorpay's other ids of the payment with the given id: those of
// its order, payment link and invoice.
func (e razorpayEvent) references(id string) []string {
	p := e.Payload
	return others(id, string(p.Payment.Entity.OrderID), p.Order.Entity.ID, p.PaymentLink.Entity.ID, p.Invoice.Entity.ID)
}

// razorpayNotesData is a virtual account or a QR code, which receives payments.
type razorpayNotesData struct {
	Notes metadata `json:"notes"`
}

// razorpayRequestPaid reads the payment in the event of an order, invoice, link
// or similar that was paid.
func razorpayRequestPaid(e razorpayEvent, _ schemas.Type, o Options) (fact, error) {
	if p := e.Payload.Payment.Entity; p.Status == "refunded" && p.neverCaptured() {
		return ignored(e.Event, "the payment was refunded before it was captured: no money of the merchant moved"), nil
	}
	return razorpayPayment(e, schemas.PaymentCaptured, o)
}

// razorpaySubscriptionPending reads a subscription that waits for a payment. It reports
// a failed payment if the payload has one.
func razorpaySubscriptionPending(e razorpayEvent, _ schemas.Type, o Options) (fact, error) {
	if e.Payload.Payment.Entity.Status != "failed" {
		return reportedBy(e.Event, "payment.failed"), nil // the payload has no id of an attempt
	}
	return razorpayPayment(e, schemas.PaymentFailed, o)
}

// razorpayPayment reads the payment of an event.
func razorpayPayment(e razorpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	p := e.Payload.Payment.Entity
	if p.ID == "" {
		return f, razorpayMissing("payment")
	}
	typ = cmp.Or(razorpayStatusTypes[typ][p.Status], typ)
	f.Type, f.Identity = typ, p.ID
	f.MerchantTransactionID, f.ConnectorTransactionID = e.key(o, nil), p.ID
	f.ConnectorReferences = e.references(p.ID)
	f.PaymentMethod = method(p.Method, first(p.Card.Network, p.Wallet))
	f.MandateID = string(p.TokenID)
	if f.Amount, err = minor(p.Amount, p.Currency, nil); err != nil {
		return f, err
	}
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured: // always the whole amount
		f.AuthorizedAmount, f.CapturedAmount = f.Amount, f.Amount
	case schemas.PaymentFailed:
		f.Error = failure(first(p.ErrorReason, p.ErrorCode), p.ErrorDescription, "")
	}
	return f, nil
}

// razorpayRequestData is an order, an invoice or a payment link: a request for
// a payment.
type razorpayRequestData struct {
	ID          string   `json:"id"`
	OrderID     text     `json:"order_id"`
	Receipt     text     `json:"receipt"`
	ReferenceID text     `json:"reference_id"`
	Amount      *int64   `json:"amount"`
	Currency    string   `json:"currency"`
	Notes       metadata `json:"notes"`
	CreatedAt   int64    `json:"created_at"`
	UpdatedAt   int64    `json:"updated_at"`
	PaidAt      int64    `json:"paid_at"`
	ExpiredAt   int64    `json:"expired_at"`
	CancelledAt int64    `json:"cancelled_at"`
}

// razorpayRequestClosed reads a payment link or an invoice that expired or was
// cancelled before it was paid.
func razorpayRequestClosed(e razorpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	r := e.Payload.PaymentLink.Entity
	if e.Event == "invoice.expired" {
		r = e.Payload.Invoice.Entity
	}
	if r.ID == "" {
		return f, razorpayMissing("payment_link or payload.invoice")
	}
	f.Type, f.Identity = typ, r.ID
	f.MerchantTransactionID = first(o.merchantID(r.Notes), first(r.ReferenceID, r.Receipt))
	f.ConnectorTransactionID = r.ID
	f.ConnectorReferences = others(r.ID, r.OrderID)
	f.Amount, err = minor(r.Amount, r.Currency, nil)
	return f, err
}

// razorpayRefundData is a refund.
// https://razorpay.com/docs/api/refunds/entity/
type razorpayRefundData struct {
	ID        string   `json:"id"`
	Status    text     `json:"status"`
	PaymentID text     `json:"payment_id"`
	Amount    *int64   `json:"amount"`
	Currency  string   `json:"currency"`
	Receipt   text     `json:"receipt"`
	Notes     metadata `json:"notes"`
}

// razorpayRefund reads a refund.
func razorpayRefund(e razorpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	r := e.Payload.Refund.Entity
	switch {
	case r.ID == "":
		return f, razorpayMissing("refund")
	case e.Payload.Payment.Entity.neverCaptured():
		return ignored(e.Event, "the payment was refunded before it was captured: no money of the merchant moved"), nil
	case typ == "" && r.Status != "processed":
		return ignored(e.Event, "only the speed of the refund changed, and not its status"), nil
	case typ == "":
		typ = schemas.RefundSucceeded
	}
	f.Type, f.Identity = cmp.Or(razorpayStatusTypes[typ][r.Status], typ), r.ID
	f.MerchantTransactionID = e.key(o, r.Notes)
	f.ConnectorRefundID, f.MerchantRefundID = r.ID, string(r.Receipt)
	f.ConnectorTransactionID = first(string(r.PaymentID), e.Payload.Payment.Entity.ID)
	f.ConnectorReferences = e.references(f.ConnectorTransactionID)
	f.Amount, err = minor(r.Amount, r.Currency, nil)
	return f, err
}

// razorpayDisputeData is a dispute.
// https://razorpay.com/docs/api/disputes/entity/
type razorpayDisputeData struct {
	ID         string `json:"id"`
	PaymentID  text   `json:"payment_id"`
	Amount     *int64 `json:"amount"`
	Currency   string `json:"currency"`
	ReasonCode text   `json:"reason_code"`
	Phase      text   `json:"phase"`
	RespondBy  *int64 `json:"respond_by"`
}

// razorpayStages maps the phase of a dispute to its stage.
var razorpayStages = map[text]schemas.Stage{
	"fraud":           schemas.StagePreDispute,
	"retrieval":       schemas.StagePreDispute,
	"chargeback":      schemas.StageDispute,
	"pre_arbitration": schemas.StagePreArbitration,
	"arbitration":     schemas.StagePreArbitration,
}

// razorpayDispute reads a dispute.
func razorpayDispute(e razorpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	d, p := e.Payload.Dispute.Entity, e.Payload.Payment.Entity
	if d.ID == "" {
		return f, razorpayMissing("dispute")
	}
	f.Type = typ
	f.MerchantTransactionID = e.key(o, nil)
	f.ConnectorTransactionID, f.ConnectorDisputeID = first(string(d.PaymentID), p.ID), d.ID
	f.ConnectorReferences = e.references(f.ConnectorTransactionID)
	f.PaymentMethod = method(p.Method, first(p.Card.Network, p.Wallet))
	f.Reason, f.Stage = string(d.ReasonCode), razorpayStages[d.Phase] // Razorpay's own code, not the card network's
	if d.RespondBy != nil {
		f.RespondBy = deadline(unix(*d.RespondBy))
	}
	f.Amount, err = minor(d.Amount, d.Currency, nil)
	return f, err
}

// razorpayPayoutData is a payout, a payout link or a settlement.
// https://razorpay.com/docs/api/x/payouts/
type razorpayPayoutData struct {
	ID            string   `json:"id"`
	Amount        *int64   `json:"amount"`
	Currency      string   `json:"currency"` // settlements have none
	ReferenceID   text     `json:"reference_id"`
	Receipt       text     `json:"receipt"` // of links
	Status        text     `json:"status"`
	Notes         metadata `json:"notes"`
	FailureReason text     `json:"failure_reason"` // older than status_details
	StatusDetails struct {
		Reason      text `json:"reason"`
		Description text `json:"description"`
	} `json:"status_details"`
}

// razorpayPayout reads a payout.
func razorpayPayout(e razorpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	p := e.Payload.Payout.Entity
	switch {
	case p.ID == "":
		return f, razorpayMissing("payout")
	case typ == "":
		return ignored(e.Event, "only details of the payout changed; other events report its state"), nil
	}
	typ = cmp.Or(razorpayStatusTypes[typ][p.Status], typ)
	if f, err = p.fact(typ); err != nil {
		return f, err
	}
	f.MerchantTransactionID = first(o.merchantID(p.Notes), string(p.ReferenceID))
	f.MerchantPayoutID = string(p.ReferenceID)
	switch typ {
	case schemas.PayoutFailed, schemas.PayoutReversed, schemas.PayoutCancelled:
		f.Error = failure(p.StatusDetails.Reason, first(p.StatusDetails.Description, p.FailureReason), "")
	}
	return f, nil
}

// razorpayPayoutLink reads a payout link. A link can be tried again, so each of
// its events is a fact.
func razorpayPayoutLink(e razorpayEvent, typ schemas.Type, o Options) (f fact, err error) {
	l := e.Payload.PayoutLink.Entity
	if l.ID == "" {
		return f, razorpayMissing("payout_link")
	}
	if f, err = l.fact(typ); err != nil {
		return f, err
	}
	f.Identity = ""
	f.MerchantTransactionID = first(o.merchantID(l.Notes), string(l.Receipt))
	f.MerchantPayoutID = string(l.Receipt)
	return f, nil
}

// razorpaySettlement reads a payout to the merchant's own bank account.
func razorpaySettlement(e razorpayEvent, typ schemas.Type, _ Options) (f fact, err error) {
	s := e.Payload.Settlement.Entity
	if s.ID == "" {
		return f, razorpayMissing("settlement")
	}
	return s.fact(typ)
}

// fact returns the fields that the facts of all payouts have in common.
func (p razorpayPayoutData) fact(typ schemas.Type) (f fact, err error) {
	f.Type, f.Identity = typ, p.ID
	f.ConnectorPayoutID = p.ID
	f.Amount, err = minor(p.Amount, p.Currency, nil)
	return f, err
}

// razorpayMandateData is a subscription, or a token: a mandate or a stored
// payment method.
// https://razorpay.com/docs/api/payments/recurring-payments/webhooks/
type razorpayMandateData struct {
	ID        string   `json:"id"`
	Method    text     `json:"method"`
	Notes     metadata `json:"notes"`
	Recurring struct {
		FailureReason text `json:"failure_reason"`
	} `json:"recurring_details"`
}

// razorpayToken reads a mandate or a stored payment method.
func razorpayToken(e razorpayEvent, typ schemas.Type, o Options) (fact, error) {
	return e.Payload.Token.Entity.fact(typ, "token", o)
}

// razorpaySubscription reads a subscription.
func razorpaySubscription(e razorpayEvent, typ schemas.Type, o Options) (fact, error) {
	return e.Payload.Subscription.Entity.fact(typ, "subscription", o)
}

// fact returns the fact of a token or a subscription.
func (m razorpayMandateData) fact(typ schemas.Type, entity string, o Options) (f fact, err error) {
	if m.ID == "" {
		return f, razorpayMissing(entity)
	}
	f.Type = typ
	f.MerchantTransactionID = o.merchantID(m.Notes)
	f.ConnectorMandateID = m.ID
	f.PaymentMethod = method(m.Method, "")
	f.Error = failure("", m.Recurring.FailureReason, "")
	return f, nil
}
