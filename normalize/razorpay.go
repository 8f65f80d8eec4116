package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// razorpay: one event a webhook, {"event", "account_id", "created_at",
// "payload"}, where the payload holds the entities that the event is about, as
// they were then: {"payment": {"entity": {...}}, "refund": ...}. The event id
// stands in a header that is not signed. So the identity of a payment, refund
// or payout is its own id, and each of its states is one fact, whichever event
// tells it: an order that is paid is a payment that is captured. Other
// identities are the hash of the body, which is sent again byte for byte.
//
// The merchant's reference is free notes or, once the order is there, its
// receipt; else the order's id, which the merchant made the payment for.
//
// https://razorpay.com/docs/webhooks/all/
var razorpay = Connector{
	Docs: "https://razorpay.com/docs/webhooks/all/",
	Key: "payload.payment.entity.notes.<merchant_id_keys>, else payload.order.entity.receipt, else payload.payment.entity.order_id; " +
		"reference_id of payouts and payment links, receipt of payout links",
	Normalize: razorpayNormalize,
}

// razorpayEvents are what the events mean, and what reads their entities. The
// type is empty where the entity decides, or nothing happened.
var razorpayEvents = map[string]struct {
	read func(razorpayEvent, schemas.Type, Options) (Fact, error)
	typ  schemas.Type
}{
	"payment.authorized": {razorpayPayment, schemas.PaymentAuthorized},
	"payment.captured":   {razorpayPayment, schemas.PaymentCaptured},
	"payment.failed":     {razorpayPayment, schemas.PaymentFailed},
	"payment.pending":    {razorpayPayment, schemas.PaymentProcessing}, // cash on delivery: ordered, not yet collected

	// What a payment was for, told together with the payment.
	"order.paid":                  {razorpayPaid, ""},
	"invoice.paid":                {razorpayPaid, ""},
	"invoice.partially_paid":      {razorpayPaid, ""},
	"payment_link.paid":           {razorpayPaid, ""},
	"payment_link.partially_paid": {razorpayPaid, ""},
	"subscription.charged":        {razorpayPaid, ""},
	"subscription.pending":        {razorpayRefused, ""},
	"virtual_account.credited":    {razorpayPaid, ""},
	"qr_code.credited":            {razorpayPaid, ""},

	"invoice.expired":        {razorpayUnpaid, schemas.PaymentExpired},
	"payment_link.expired":   {razorpayUnpaid, schemas.PaymentExpired},
	"payment_link.cancelled": {razorpayUnpaid, schemas.PaymentCancelled},

	"refund.created":       {razorpayRefund, schemas.RefundPending},
	"refund.processed":     {razorpayRefund, schemas.RefundSucceeded},
	"refund.failed":        {razorpayRefund, schemas.RefundFailed},
	"refund.speed_changed": {razorpayRefund, ""},

	"payment.dispute.created":         {razorpayDispute, schemas.DisputeOpened},
	"payment.dispute.action_required": {razorpayDispute, schemas.DisputeOpened}, // the evidence is not enough, and the merchant is asked again
	"payment.dispute.under_review":    {razorpayDispute, schemas.DisputeChallenged},
	"payment.dispute.won":             {razorpayDispute, schemas.DisputeWon},
	"payment.dispute.lost":            {razorpayDispute, schemas.DisputeLost},
	"payment.dispute.closed":          {razorpayDispute, schemas.DisputeCancelled},

	"payout.pending":       {razorpayPayout, schemas.PayoutCreated}, // to be approved
	"payout.queued":        {razorpayPayout, schemas.PayoutCreated}, // until there is balance
	"payout.initiated":     {razorpayPayout, schemas.PayoutProcessing},
	"payout.processed":     {razorpayPayout, schemas.PayoutSucceeded},
	"payout.failed":        {razorpayPayout, schemas.PayoutFailed},
	"payout.reversed":      {razorpayPayout, schemas.PayoutReversed},
	"payout.rejected":      {razorpayPayout, schemas.PayoutCancelled}, // by the merchant's own approvers
	"payout.updated":       {razorpayPayout, ""},
	"settlement.processed": {razorpaySettlement, schemas.PayoutProcessing}, // the transfer is made; that it arrived is not told

	// A link by which somebody tells where to send the money. It is a payout of
	// its own, by its own id: the payouts that carry it out have their events.
	"payout_link.pending":    {razorpayPayoutLink, schemas.PayoutCreated},
	"payout_link.issued":     {razorpayPayoutLink, schemas.PayoutCreated},
	"payout_link.processing": {razorpayPayoutLink, schemas.PayoutProcessing},
	"payout_link.processed":  {razorpayPayoutLink, schemas.PayoutSucceeded},
	"payout_link.attempted":  {razorpayPayoutLink, schemas.PayoutReversed}, // and can be tried again
	"payout_link.cancelled":  {razorpayPayoutLink, schemas.PayoutCancelled},
	"payout_link.rejected":   {razorpayPayoutLink, schemas.PayoutCancelled}, // by the merchant's own approvers
	"payout_link.expired":    {razorpayPayoutLink, schemas.PayoutExpired},

	"token.confirmed":            {razorpayToken, schemas.MandateActive},
	"token.rejected":             {razorpayToken, schemas.MandateFailed},
	"token.paused":               {razorpayToken, schemas.MandateRevoked}, // by the payer, who can let it go on
	"token.cancelled":            {razorpayToken, schemas.MandateRevoked},
	"token.activated":            {razorpayToken, schemas.MandateActive},  // from here, of stored cards
	"token.suspended":            {razorpayToken, schemas.MandateRevoked}, // by the bank, until it is activated again
	"token.deactivated":          {razorpayToken, schemas.MandateRevoked},
	"subscription.authenticated": {razorpaySubscription, schemas.MandateActive},
	"subscription.activated":     {razorpaySubscription, schemas.MandateActive},
	"subscription.resumed":       {razorpaySubscription, schemas.MandateActive},
	"subscription.paused":        {razorpaySubscription, schemas.MandateRevoked}, // until it is resumed
	"subscription.halted":        {razorpaySubscription, schemas.MandateRevoked}, // until the payer mends it: no retry is left
	"subscription.cancelled":     {razorpaySubscription, schemas.MandateRevoked},
	"subscription.completed":     {razorpaySubscription, schemas.MandateRevoked},
}

type razorpayEvent struct {
	Event     string `json:"event"`
	AccountID text   `json:"account_id"`
	CreatedAt int64  `json:"created_at"` // see at
	Payload   struct {
		CreatedAt    int64                               `json:"created_at"` // some events have it here
		Payment      razorpayEntity[razorpayPaymentData] `json:"payment"`
		Order        razorpayEntity[razorpayRequestData] `json:"order"`
		Invoice      razorpayEntity[razorpayRequestData] `json:"invoice"`
		PaymentLink  razorpayEntity[razorpayRequestData] `json:"payment_link"`
		Refund       razorpayEntity[razorpayRefundData]  `json:"refund"`
		Dispute      razorpayEntity[razorpayDisputeData] `json:"dispute"`
		Payout       razorpayEntity[razorpayPayoutData]  `json:"payout"`
		PayoutLink   razorpayEntity[razorpayPayoutData]  `json:"payout_link"`
		Settlement   razorpayEntity[razorpayPayoutData]  `json:"settlement"`
		Token        razorpayEntity[razorpayMandateData] `json:"token"`
		Subscription razorpayEntity[razorpayMandateData] `json:"subscription"`
	} `json:"payload"`
}

type razorpayEntity[Data any] struct {
	Entity Data `json:"entity"`
}

func razorpayNormalize(payload []byte, o Options) ([]Fact, error) {
	var envelope struct {
		Event text `json:"event"`
	}
	if err := decode(payload, &envelope); err != nil {
		return nil, err
	}
	name := string(envelope.Event)
	event, ok := razorpayEvents[name]
	switch {
	case name == "":
		return nil, fmt.Errorf("%w: no event: not an event of Razorpay's", ErrMalformed)
	case !ok:
		return []Fact{notUnified(name)}, nil
	}
	var e razorpayEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(name, err)
	}
	f, err := event.read(e, event.typ, o)
	f.Time, f.Account = e.at(), string(e.AccountID)
	return oneFact(name, f, err)
}

// at is when it happened. The created_at of a payment link's event, and perhaps
// of an invoice's, is when the link was made, in Razorpay's own samples: then it
// is the link's own time of what happened, or when it last changed.
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

// razorpayStatuses is what happened where an event's name says that it went well
// and the status of the entity says otherwise: the status counts.
var razorpayStatuses = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"created":    schemas.PaymentProcessing,
		"pending":    schemas.PaymentProcessing,
		"authorized": schemas.PaymentAuthorized,
		"failed":     schemas.PaymentFailed,
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

// razorpayNothing is the error of an event without the entity it is about.
func razorpayNothing(entity string) error {
	return fmt.Errorf("%w: no id of payload.%s.entity", ErrMalformed, entity)
}

// razorpayPaymentData: https://razorpay.com/docs/api/payments/entity/
type razorpayPaymentData struct {
	ID               string   `json:"id"`
	Status           text     `json:"status"`
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

// key is the merchant's reference of the payment that an event is about, from
// the entities that came with it.
func (e razorpayEvent) key(o Options, own metadata) string {
	p := e.Payload
	return first(o.merchantID(p.Payment.Entity.Notes, own, p.Order.Entity.Notes),
		string(p.Order.Entity.Receipt), string(p.Payment.Entity.OrderID))
}

// razorpayPaid is a payment that another event than its own tells of.
func razorpayPaid(e razorpayEvent, _ schemas.Type, o Options) (Fact, error) {
	if status := e.Payload.Payment.Entity.Status; status != "captured" && e.Payload.Payment.Entity.ID != "" {
		return ignored(e.Event, fmt.Sprintf("the payment is %q; its own event tells", status)), nil
	}
	return razorpayPayment(e, schemas.PaymentCaptured, o)
}

// razorpayRefused is a payment of a subscription that failed, if it was tried.
func razorpayRefused(e razorpayEvent, _ schemas.Type, o Options) (Fact, error) {
	if e.Payload.Payment.Entity.Status != "failed" {
		return ignored(e.Event, "the subscription waits for a payment; payment.failed tells which failed"), nil
	}
	return razorpayPayment(e, schemas.PaymentFailed, o)
}

func razorpayPayment(e razorpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	p := e.Payload.Payment.Entity
	if p.ID == "" {
		return f, razorpayNothing("payment")
	}
	typ = cmp.Or(razorpayStatuses[typ][p.Status], typ)
	f.Type, f.Identity = typ, p.ID
	f.MerchantTransactionID, f.ConnectorTransactionID = e.key(o, nil), p.ID
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

// razorpayRequestData is what asks for a payment: an order, an invoice or a
// payment link.
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

func razorpayUnpaid(e razorpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	r := e.Payload.PaymentLink.Entity
	if e.Event == "invoice.expired" {
		r = e.Payload.Invoice.Entity
	}
	if r.ID == "" {
		return f, razorpayNothing("payment_link or payload.invoice")
	}
	f.Type, f.Identity = typ, r.ID
	f.MerchantTransactionID = first(o.merchantID(r.Notes), first(r.ReferenceID, r.Receipt, r.OrderID))
	f.ConnectorTransactionID = r.ID
	f.Amount, err = minor(r.Amount, r.Currency, nil)
	return f, err
}

// razorpayRefundData: https://razorpay.com/docs/api/refunds/entity/
type razorpayRefundData struct {
	ID        string   `json:"id"`
	Status    text     `json:"status"`
	PaymentID text     `json:"payment_id"`
	Amount    *int64   `json:"amount"`
	Currency  string   `json:"currency"`
	Receipt   text     `json:"receipt"`
	Notes     metadata `json:"notes"`
}

func razorpayRefund(e razorpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	r := e.Payload.Refund.Entity
	switch {
	case r.ID == "":
		return f, razorpayNothing("refund")
	case typ == "":
		return ignored(e.Event, "the refund goes another way and is where it was"), nil
	}
	f.Type, f.Identity = cmp.Or(razorpayStatuses[typ][r.Status], typ), r.ID
	f.MerchantTransactionID = e.key(o, r.Notes)
	f.ConnectorRefundID, f.MerchantRefundID = r.ID, string(r.Receipt)
	f.ConnectorTransactionID = first(string(r.PaymentID), e.Payload.Payment.Entity.ID)
	f.Amount, err = minor(r.Amount, r.Currency, nil)
	return f, err
}

// razorpayDisputeData: https://razorpay.com/docs/api/disputes/entity/
type razorpayDisputeData struct {
	ID         string `json:"id"`
	PaymentID  text   `json:"payment_id"`
	Amount     *int64 `json:"amount"`
	Currency   string `json:"currency"`
	ReasonCode text   `json:"reason_code"`
	Phase      text   `json:"phase"`
	RespondBy  *int64 `json:"respond_by"`
}

var razorpayStages = map[text]schemas.Stage{
	"fraud":           schemas.StagePreDispute,
	"retrieval":       schemas.StagePreDispute,
	"chargeback":      schemas.StageDispute,
	"pre_arbitration": schemas.StagePreArbitration,
	"arbitration":     schemas.StagePreArbitration,
}

func razorpayDispute(e razorpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	d, p := e.Payload.Dispute.Entity, e.Payload.Payment.Entity
	if d.ID == "" {
		return f, razorpayNothing("dispute")
	}
	f.Type = typ
	f.MerchantTransactionID = e.key(o, nil)
	f.ConnectorTransactionID, f.ConnectorDisputeID = first(string(d.PaymentID), p.ID), d.ID
	f.PaymentMethod = method(p.Method, first(p.Card.Network, p.Wallet))
	f.Reason, f.Stage = string(d.ReasonCode), razorpayStages[d.Phase] // Razorpay's own word, no card network's code
	if d.RespondBy != nil {
		f.RespondBy = deadline(unix(*d.RespondBy))
	}
	f.Amount, err = minor(d.Amount, d.Currency, nil)
	return f, err
}

// razorpayPayoutData: https://razorpay.com/docs/api/x/payouts/
type razorpayPayoutData struct {
	ID            string   `json:"id"`
	Amount        *int64   `json:"amount"`
	Currency      string   `json:"currency"` // settlements have none
	ReferenceID   text     `json:"reference_id"`
	Receipt       text     `json:"receipt"` // of links
	Status        text     `json:"status"`
	Notes         metadata `json:"notes"`
	FailureReason text     `json:"failure_reason"` // before there were details
	StatusDetails struct {
		Reason      text `json:"reason"`
		Description text `json:"description"`
	} `json:"status_details"`
}

func razorpayPayout(e razorpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	p := e.Payload.Payout.Entity
	switch {
	case p.ID == "":
		return f, razorpayNothing("payout")
	case typ == "":
		return ignored(e.Event, "details of the payout changed; events of its own tell its state"), nil
	}
	typ = cmp.Or(razorpayStatuses[typ][p.Status], typ)
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

// razorpayPayoutLink: a link can be tried again, so that each of its events is
// a fact.
func razorpayPayoutLink(e razorpayEvent, typ schemas.Type, o Options) (f Fact, err error) {
	l := e.Payload.PayoutLink.Entity
	if l.ID == "" {
		return f, razorpayNothing("payout_link")
	}
	if f, err = l.fact(typ); err != nil {
		return f, err
	}
	f.Identity = ""
	f.MerchantTransactionID = first(o.merchantID(l.Notes), string(l.Receipt))
	f.MerchantPayoutID = string(l.Receipt)
	return f, nil
}

// razorpaySettlement is a payout to the merchant's own bank account.
func razorpaySettlement(e razorpayEvent, typ schemas.Type, _ Options) (f Fact, err error) {
	s := e.Payload.Settlement.Entity
	if s.ID == "" {
		return f, razorpayNothing("settlement")
	}
	return s.fact(typ)
}

func (p razorpayPayoutData) fact(typ schemas.Type) (f Fact, err error) {
	f.Type, f.Identity = typ, p.ID
	f.ConnectorPayoutID = p.ID
	f.Amount, err = minor(p.Amount, p.Currency, nil)
	return f, err
}

// razorpayMandateData is a token, which is a mandate or a stored method, or a
// subscription: https://razorpay.com/docs/api/payments/recurring-payments/webhooks/
type razorpayMandateData struct {
	ID        string   `json:"id"`
	Method    text     `json:"method"`
	Notes     metadata `json:"notes"`
	Recurring struct {
		FailureReason text `json:"failure_reason"`
	} `json:"recurring_details"`
}

func razorpayToken(e razorpayEvent, typ schemas.Type, o Options) (Fact, error) {
	return e.Payload.Token.Entity.fact(typ, "token", o)
}

func razorpaySubscription(e razorpayEvent, typ schemas.Type, o Options) (Fact, error) {
	return e.Payload.Subscription.Entity.fact(typ, "subscription", o)
}

func (m razorpayMandateData) fact(typ schemas.Type, entity string, o Options) (f Fact, err error) {
	if m.ID == "" {
		return f, razorpayNothing(entity)
	}
	f.Type = typ
	f.MerchantTransactionID = o.merchantID(m.Notes)
	f.ConnectorMandateID = m.ID
	f.PaymentMethod = method(m.Method, "")
	f.Error = failure("", m.Recurring.FailureReason, "")
	return f, nil
}
