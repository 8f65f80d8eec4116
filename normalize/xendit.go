package normalize

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// xendit normalises Xendit's webhooks. One webhook is one event, {"event",
// "business_id", "created", "data"}. Disputes and the older webhooks have their
// fields at the top level instead of in data. Invoices, virtual accounts,
// retail outlets and disbursements also have no event name, and disbursements
// can come as a batch. Amounts are numbers in major units, except those of
// version 3 payouts, which are in minor units. The identity is the id of the
// object; its state decides the event type.
//
// Each kind of webhook has a URL of its own, and several kinds can report one payment:
// those of the payment, of its session or invoice, and of the virtual account. Where
// they name the payment, it is the identity. Xendit does not say that the payment_id of
// an invoice is that of the other webhooks; where it differs, the payment is published
// twice.
//
// https://docs.xendit.co/docs/payments-api-webhooks
// https://docs.xendit.co/apidocs/dispute-webhook-notifications
// https://docs.xendit.co/apidocs/payout-v3-webhook
var xendit = Connector{
	Docs:      "https://docs.xendit.co/docs/payments-api-webhooks",
	Key:       "data.reference_id of payments and payouts, reference_id of disputes; external_id of the older ones; data.metadata.<merchant_id_keys> of refunds",
	Tellers:   xenditTellers,
	Captures:  CountsTotal, // captures, the list of all captures so far
	normalize: xenditNormalize,
}

// The event types of events whose status can claim less than their name.
var (
	xenditCaptured = []schemas.Type{
		schemas.PaymentCaptured, schemas.PaymentFailed, schemas.PaymentProcessing, schemas.PaymentActionRequired,
		schemas.PaymentAuthorized, schemas.PaymentCancelled, schemas.PaymentExpired,
	}
	xenditRefunded = []schemas.Type{schemas.RefundSucceeded, schemas.RefundFailed, schemas.RefundPending, schemas.RefundCancelled}
	xenditPaidOut  = []schemas.Type{schemas.PayoutSucceeded, schemas.PayoutFailed, schemas.PayoutProcessing, schemas.PayoutCancelled, schemas.PayoutExpired, schemas.PayoutReversed}
)

// xenditTellers lists the events, the most important first. The names with a space are
// ours, for webhooks without a name.
var xenditTellers = []Teller{
	{Event: "payment.capture", Facts: xenditCaptured},
	{Event: "payment.authorization", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "payment.failure", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "payment.cancellation", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "payment.expiry", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "payment_request.expiry", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "payment_session.completed", Facts: append([]schemas.Type{schemas.MandateActive}, xenditCaptured...), Instead: "payment.capture and payment_token.activation"},
	{Event: "payment_session.expired", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "payment.succeeded", Facts: xenditCaptured},
	{Event: "payment.awaiting_capture", Facts: []schemas.Type{schemas.PaymentAuthorized}},
	{Event: "payment.pending", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "payment.failed", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "capture.succeeded", Facts: xenditCaptured},
	{Event: "capture.failed", Facts: []schemas.Type{schemas.PaymentCaptureFailed}},
	{Event: "invoice PAID", Facts: xenditCaptured},
	{Event: "invoice SETTLED", Facts: xenditCaptured, Instead: "invoice PAID, which comes to the same URL before"},
	{Event: "invoice EXPIRED", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "virtual account paid", Facts: xenditCaptured},
	{Event: "retail outlet paid", Facts: xenditCaptured},
	{Event: "ewallet.capture", Facts: xenditCaptured},
	{Event: "ewallet.payment", Facts: xenditCaptured},
	{Event: "ewallet.void", Facts: []schemas.Type{schemas.PaymentCancelled}},
	{Event: "qr.payment", Facts: xenditCaptured},
	{Event: "direct_debit.payment", Facts: xenditCaptured},
	{Event: "refund.succeeded", Facts: xenditRefunded},
	{Event: "refund.failed", Facts: xenditRefunded},
	{Event: "ewallet.refund", Facts: xenditRefunded},
	{Event: "qr.refund", Facts: xenditRefunded},
	{Event: "dispute.action_required", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "dispute.due_date_approaching", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "dispute.under_review", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "dispute.won", Facts: []schemas.Type{schemas.DisputeWon, schemas.DisputeCancelled}},
	{Event: "dispute.lost", Facts: []schemas.Type{schemas.DisputeLost, schemas.DisputeAccepted}},
	{Event: "payout.succeeded", Facts: xenditPaidOut},
	{Event: "payout.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "payout.expired", Facts: []schemas.Type{schemas.PayoutExpired}},
	{Event: "payout.reversed", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "v3_payout.succeeded", Facts: xenditPaidOut},
	{Event: "v3_payout.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "v3_payout.rejected", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "v3_payout.reversed", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "v3_payout.pending_compliance", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "disbursement PENDING", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "disbursement COMPLETED", Facts: xenditPaidOut},
	{Event: "disbursement FAILED", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "payment_token.activation", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "payment_token.failure", Facts: []schemas.Type{schemas.MandateFailed}},
	{Event: "payment_token.expiry", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "payment_method.activated", Facts: []schemas.Type{schemas.MandateActive}},
	{Event: "payment_method.expired", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// xenditReaders maps an event to the function that reads its data and to the event
// type.
var xenditReaders = map[string]struct {
	read func(xenditData, schemas.Type, Options) (fact, error)
	typ  schemas.Type
}{
	"payment.authorization":    {xenditPayment, schemas.PaymentAuthorized},
	"payment.awaiting_capture": {xenditPayment, schemas.PaymentAuthorized},
	"payment.capture":          {xenditPayment, schemas.PaymentCaptured},
	"payment.succeeded":        {xenditPayment, schemas.PaymentCaptured},
	"payment.pending":          {xenditPayment, schemas.PaymentProcessing},
	"payment.failure":          {xenditPayment, schemas.PaymentFailed},
	"payment.failed":           {xenditPayment, schemas.PaymentFailed},
	"payment.cancellation":     {xenditPayment, schemas.PaymentCancelled},
	"payment.expiry":           {xenditPayment, schemas.PaymentExpired},
	"payment_request.expiry":   {xenditPayment, schemas.PaymentExpired},
	"capture.succeeded":        {xenditPayment, schemas.PaymentCaptured},
	"capture.failed":           {xenditPayment, schemas.PaymentCaptureFailed},
	"qr.payment":               {xenditPayment, schemas.PaymentCaptured},
	"ewallet.capture":          {xenditPayment, schemas.PaymentCaptured},
	"ewallet.void":             {xenditPayment, schemas.PaymentCancelled},
	"ewallet.payment":          {xenditPayment, schemas.PaymentCaptured},
	"direct_debit.payment":     {xenditPayment, schemas.PaymentCaptured},

	"payment_session.completed": {xenditSession, schemas.PaymentCaptured},
	"payment_session.expired":   {xenditSession, schemas.PaymentExpired},

	"refund.succeeded": {xenditRefund, schemas.RefundSucceeded},
	"refund.failed":    {xenditRefund, schemas.RefundFailed},
	"ewallet.refund":   {xenditRefund, schemas.RefundSucceeded},
	"qr.refund":        {xenditRefund, schemas.RefundSucceeded},

	"dispute.action_required":      {xenditDispute, schemas.DisputeOpened},
	"dispute.due_date_approaching": {xenditDispute, schemas.DisputeOpened}, // a reminder: the dispute is still open
	"dispute.under_review":         {xenditDispute, schemas.DisputeChallenged},
	"dispute.won":                  {xenditDispute, schemas.DisputeWon},
	"dispute.lost":                 {xenditDispute, schemas.DisputeLost},

	"payout.succeeded": {xenditPayout, schemas.PayoutSucceeded},
	"payout.failed":    {xenditPayout, schemas.PayoutFailed},
	"payout.expired":   {xenditPayout, schemas.PayoutExpired},
	"payout.reversed":  {xenditPayout, schemas.PayoutReversed},

	"v3_payout.succeeded":          {xenditPayout, schemas.PayoutSucceeded},
	"v3_payout.failed":             {xenditPayout, schemas.PayoutFailed},
	"v3_payout.rejected":           {xenditPayout, schemas.PayoutFailed},
	"v3_payout.reversed":           {xenditPayout, schemas.PayoutReversed},
	"v3_payout.pending_compliance": {xenditPayout, schemas.PayoutProcessing},

	"payment_token.activation": {xenditToken, schemas.MandateActive},
	"payment_token.failure":    {xenditToken, schemas.MandateFailed},
	"payment_token.expiry":     {xenditToken, schemas.MandateRevoked},
	"payment_method.activated": {xenditToken, schemas.MandateActive},
	"payment_method.expired":   {xenditToken, schemas.MandateRevoked},

	"invoice PAID":    {xenditPaid, schemas.PaymentCaptured},
	"invoice SETTLED": {xenditPaid, schemas.PaymentCaptured},
	"invoice EXPIRED": {xenditPayment, schemas.PaymentExpired},

	"virtual account paid": {xenditPaid, schemas.PaymentCaptured},
	"retail outlet paid":   {xenditPaid, schemas.PaymentCaptured},

	"disbursement PENDING":   {xenditPayout, schemas.PayoutProcessing},
	"disbursement COMPLETED": {xenditPayout, schemas.PayoutSucceeded},
	"disbursement FAILED":    {xenditPayout, schemas.PayoutFailed},
}

// xenditExponents lists the currencies whose minor unit at Xendit differs from ISO
// 4217: version 3 payouts count whole rupiahs.
var xenditExponents = map[string]int{"IDR": 0}

// xenditEvent is the body of a webhook. The object that it is about is read
// only if the event name is known. In webhooks without data, created is the
// time at which the object was created, and not the time of the event.
type xenditEvent struct {
	Event         text `json:"event"`
	Created       text `json:"created"`
	Data          part `json:"data"`
	Disbursements part `json:"disbursements"` // of a batch
	xenditLegacy
}

// xenditLegacy has the fields that show what a webhook without an event name is about.
type xenditLegacy struct {
	Status                  text `json:"status"`
	ExternalID              text `json:"external_id"`
	PaymentID               text `json:"payment_id"`
	VirtualAccountID        text `json:"callback_virtual_account_id"`
	PaymentCodeID           text `json:"fixed_payment_code_id"`
	DisbursementDescription text `json:"disbursement_description"`
	AccountHolderName       text `json:"account_holder_name"`
}

// xenditData has the fields of all kinds of objects.
type xenditData struct {
	ID               text         `json:"id"`
	PaymentID        text         `json:"payment_id"`
	PaymentRequestID text         `json:"payment_request_id"`
	PaymentTokenID   text         `json:"payment_token_id"`
	InvoiceID        text         `json:"invoice_id"`
	ReferenceID      text         `json:"reference_id"`
	ExternalID       text         `json:"external_id"`
	Status           text         `json:"status"`
	Currency         text         `json:"currency"`
	RequestAmount    text         `json:"request_amount"`
	CaptureAmount    text         `json:"capture_amount"`
	ChargeAmount     text         `json:"charge_amount"`
	PaidAmount       text         `json:"paid_amount"`
	Amount           xenditAmount `json:"amount"`
	ChannelCode      text         `json:"channel_code"`
	PaymentChannel   text         `json:"payment_channel"`
	FailureCode      text         `json:"failure_code"`
	Reason           text         `json:"reason"`
	Created          text         `json:"created"`
	Updated          text         `json:"updated"`
	PaidAt           text         `json:"paid_at"`
	Metadata         metadata     `json:"metadata"`
	QRCode           struct {
		ExternalID text `json:"external_id"`
	} `json:"qr_code"`
	Data *xenditData `json:"data"` // Xendit documents refunds as an event within an event

	ChargeID       text `json:"charge_id"`       // of refunds: the ewallet payment
	DirectDebitID  text `json:"direct_debit_id"` // of refunds: the direct debit payment
	RefundAmount   text `json:"refund_amount"`
	CapturedAmount text `json:"captured_amount"`
	Authorized     text `json:"authorized_amount"` // this and the next: of captures of version 2
	Capturable     text `json:"capturable_amount"` // what can still be captured
	Captures       []struct {
		ID     text `json:"capture_id"`
		Amount text `json:"capture_amount"`
	} `json:"captures"`
	CaptureMethod    text         `json:"capture_method"`
	PaymentMethod    xenditMethod `json:"payment_method"`
	PaymentMethodID  text         `json:"payment_method_id"`
	PaymentSessionID text         `json:"payment_session_id"`
	SessionType      text         `json:"session_type"`
	Type             text         `json:"type"` // of payments: PAY, PAY_AND_SAVE or REUSABLE_PAYMENT_CODE

	PayoutID            text `json:"payout_id"` // of version 3
	DestinationAmount   text `json:"destination_amount"`
	DestinationCurrency text `json:"destination_currency"`

	CardBrands   text `json:"card_brands"` // of disputes
	StatusReason text `json:"status_reason"`
	DueDate      text `json:"due_date"`
	Category     struct {
		Name text `json:"name"`
	} `json:"category"`
	CreatedAt text `json:"created_at"`
	UpdatedAt text `json:"updated_at"`

	// Fields of the older webhooks of Indonesia: virtual accounts, retail outlets,
	// ewallets and disbursements.
	VirtualAccountID        text `json:"callback_virtual_account_id"`
	PaymentCodeID           text `json:"fixed_payment_code_id"`
	DisbursementDescription text `json:"disbursement_description"`
	AccountHolderName       text `json:"account_holder_name"`
	TransactionTimestamp    text `json:"transaction_timestamp"`
	BankCode                text `json:"bank_code"`
	RetailOutletName        text `json:"retail_outlet_name"`
	EwalletType             text `json:"ewallet_type"`
}

// xenditMethod is payment_method: an object with an id and a type, or, in
// invoices, a string.
type xenditMethod struct {
	ID   text `json:"id"`
	Type text `json:"type"`
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *xenditMethod) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return m.Type.UnmarshalJSONFrom(d)
	}
	type object xenditMethod
	return json.UnmarshalDecode(d, (*object)(m))
}

// xenditAmount is an amount. In disputes, it is an object with the amount that
// was disputed at first.
type xenditAmount struct {
	Initial text `json:"initial"`
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (a *xenditAmount) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return a.Initial.UnmarshalJSONFrom(d)
	}
	type object xenditAmount
	return json.UnmarshalDecode(d, (*object)(a))
}

func xenditNormalize(payload []byte, o Options) ([]fact, error) {
	var e xenditEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	switch {
	case e.Event == "" && e.Disbursements.kind() == '[':
		var batch []part
		if err := redecode(e.Disbursements, &batch); err != nil {
			return nil, err
		}
		facts := make([]fact, len(batch))
		for i, d := range batch {
			facts[i] = xenditDisbursement(d, o)
		}
		return facts, nil
	case e.Event == "" && e.Data.kind() == '{': // the fields in data show what the webhook is about
		var d xenditLegacy
		if err := redecode(e.Data, &d); err != nil {
			return nil, err
		}
		e.xenditLegacy = d
	}
	event := first(string(e.Event), e.event())
	if event == "" {
		return nil, fmt.Errorf("%w: no event and no invoice: not a webhook of Xendit's", ErrMalformed)
	}
	about, happened := e.Data, e.Created
	if len(about) == 0 || about.kind() == 'n' { // an older webhook: its fields are at the top level
		about, happened = payload, ""
	}
	return []fact{xenditFact(event, about, happened, o)}, nil
}

// xenditDisbursement reads one disbursement of a batch.
func xenditDisbursement(about part, o Options) fact {
	var d xenditLegacy
	if err := redecode(about, &d); err != nil {
		return malformed("disbursement", err)
	}
	return xenditFact("disbursement "+string(d.Status), about, "", o)
}

// event returns the name that we give to a webhook without an event name; "" if
// it is not known.
func (d xenditLegacy) event() string {
	switch {
	case d.VirtualAccountID != "" && d.PaymentID != "":
		return "virtual account paid"
	case d.PaymentCodeID != "" && d.PaymentID != "":
		return "retail outlet paid"
	case d.Status == "":
		return ""
	case d.DisbursementDescription != "" || d.AccountHolderName != "":
		return "disbursement " + string(d.Status)
	case d.ExternalID != "":
		return "invoice " + string(d.Status)
	}
	return ""
}

// currency returns the currency of an amount. The older webhooks of Indonesia
// do not name it: it is IDR.
func (d xenditData) currency() string {
	for _, id := range []text{d.VirtualAccountID, d.PaymentCodeID, d.QRCode.ExternalID, d.EwalletType, d.BankCode, d.AccountHolderName, d.DisbursementDescription} {
		if id != "" {
			return first(d.Currency, "IDR")
		}
	}
	return string(d.Currency)
}

// xenditChannels maps channels to kinds of payment method.
// https://docs.xendit.co/docs/payment-channels
var xenditChannels = func() map[string]string {
	m := map[string]string{}
	for kind, channels := range map[string]string{
		"ewallet": "alipay alipay_plus appota astrapay dana gcash gopay grabpay jeniuspay line_pay linepay linkaja maya momo nexcash ovo " +
			"paymaya rabbit_linepay shopeepay touchngo truemoney viettelpay vnptwallet wechatpay zalopay",
		"retail_outlet": "7eleven 7eleven_cliqq alfamart cebuana dp_ecpay_loan ecpay ecpay_loan ecpay_school familymart indomaret lbc mlhuillier palawan",
		"pay_later":     "akulaku atome billease cashalo indodana kredivo uangme",
		"qr_code":       "promptpay qris qrph vietqr",
	} {
		for _, channel := range strings.Fields(channels) {
			m[channel] = kind
		}
	}
	return m
}()

// channel returns the payment method of a channel. The newer webhooks name the
// channel instead of the kind of payment method. An unknown channel is returned
// as the kind.
func (d xenditData) channel() *schemas.PaymentMethod {
	channel := strings.ToLower(string(d.ChannelCode))
	if country, rest, ok := strings.Cut(channel, "_"); ok && len(country) == 2 && xenditChannels[rest] != "" { // id_ovo
		channel = rest
	}
	bank, virtual := strings.CutSuffix(channel, "_virtual_account")
	debited, debit := strings.CutPrefix(channel, "ba_") // the payer's bank account
	switch {
	case xenditChannels[channel] != "":
		return method(xenditChannels[channel], channel)
	case virtual:
		return method("virtual_account", bank)
	case debit:
		return method("direct_debit", debited)
	}
	return method(channel, d.CardBrands)
}

// method returns the payment method: the channel, or the fields that the older
// webhooks have instead.
func (d xenditData) method() *schemas.PaymentMethod {
	switch {
	case d.ChannelCode != "":
		return d.channel()
	case d.EwalletType != "":
		return method("ewallet", d.EwalletType)
	case d.RetailOutletName != "":
		return method("retail_outlet", d.RetailOutletName)
	case d.VirtualAccountID != "":
		return method("virtual_account", d.BankCode)
	case d.PaymentMethod.Type != "":
		return method(d.PaymentMethod.Type, first(d.PaymentChannel, d.BankCode))
	}
	return method(first(d.PaymentChannel, d.BankCode), d.CardBrands)
}

// xenditFact returns the fact of an event. The object that the event is about
// is in about; happened is the time of the event, or "".
func xenditFact(name string, about part, happened text, o Options) fact {
	event, ok := xenditReaders[name]
	if !ok {
		return notUnified(name)
	}
	var d xenditData
	if err := redecode(about, &d); err != nil {
		return malformed(name, err)
	}
	if d.Data != nil {
		d = *d.Data
	}
	f, err := event.read(d, event.typ, o)
	if err == nil {
		f.Time, err = timestamp(d.at(f.Type, happened), time.RFC3339)
	}
	switch {
	case err != nil:
		return malformed(name, err)
	case f.Type == "":
		return ignored(name, f.Why)
	}
	f.ConnectorEventType = name
	return f
}

// at returns when the fact happened. The time at which the object was created
// counts only for facts that begin with it: an invoice expires days after it
// was created.
func (d xenditData) at(typ schemas.Type, happened text) string {
	made, updated := cmp.Or(d.Created, d.CreatedAt), cmp.Or(d.Updated, d.UpdatedAt)
	begins := false
	switch typ {
	case schemas.PaymentCaptured:
		if at := first(d.PaidAt, d.TransactionTimestamp); at != "" {
			return at
		}
		begins = d.QRCode.ExternalID != "" || d.EwalletType != "" // these objects are created when they are paid
	case schemas.PaymentAuthorized, schemas.PaymentProcessing, schemas.RefundPending, schemas.DisputeOpened, schemas.PayoutProcessing:
		begins = true
	}
	if begins {
		return first(updated, happened, made)
	}
	if updated == made {
		updated = ""
	}
	return first(updated, happened)
}

// xenditStatusTypes corrects an event name that says captured while the status
// of the payment says otherwise: the status decides. Ewallets, direct debits
// and QR codes have one event name for all statuses.
var xenditStatusTypes = map[text]schemas.Type{
	"FAILED":             schemas.PaymentFailed,
	"PENDING":            schemas.PaymentProcessing,
	"REQUIRES_ACTION":    schemas.PaymentActionRequired,
	"ACCEPTING_PAYMENTS": schemas.PaymentActionRequired,
	"AUTHORIZED":         schemas.PaymentAuthorized,
	"AWAITING_CAPTURE":   schemas.PaymentAuthorized,
	"CANCELED":           schemas.PaymentCancelled,
	"CANCELLED":          schemas.PaymentCancelled,
	"VOIDED":             schemas.PaymentCancelled,
	"EXPIRED":            schemas.PaymentExpired,
}

// xenditPayoutStatusTypes does the same as xenditStatusTypes for payouts.
var xenditPayoutStatusTypes = map[text]schemas.Type{
	"REQUESTED": schemas.PayoutProcessing,
	"ACCEPTED":  schemas.PayoutProcessing,
	"PENDING":   schemas.PayoutProcessing,
	"FAILED":    schemas.PayoutFailed,
	"CANCELLED": schemas.PayoutCancelled,
	"EXPIRED":   schemas.PayoutExpired,
	"REVERSED":  schemas.PayoutReversed,
}

// xenditMissing returns the error for an event without the id of the object it
// is about.
func xenditMissing() error { return fmt.Errorf("%w: no data.id", ErrMalformed) }

// xenditPayment reads a payment. A payment with several captures has an event
// for each of them, and every event lists all captures so far.
func xenditPayment(d xenditData, typ schemas.Type, _ Options) (f fact, err error) {
	f.ConnectorTransactionID = first(d.PaymentID, d.PaymentRequestID, d.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, d.PaymentRequestID, d.ID, d.PaymentSessionID) // a refund can name any of them
	if f.Identity = first(d.ID, d.PaymentID, d.PaymentRequestID); f.Identity == "" {
		return f, xenditMissing()
	}
	if typ == schemas.PaymentCaptured {
		typ = cmp.Or(xenditStatusTypes[d.Status], typ)
	}
	if typ == schemas.PaymentCaptured && d.PaymentID != "" && d.PaymentRequestID != "" && strings.HasPrefix(string(d.Type), "PAY") {
		f.Also = []string{string(d.PaymentRequestID)} // a request of this type is paid once, and its session may name it alone
	}
	f.Type = typ
	f.MerchantTransactionID = first(d.ReferenceID, d.ExternalID, d.QRCode.ExternalID)
	f.PaymentMethod, f.MandateID = d.method(), first(d.PaymentTokenID, d.PaymentMethodID, d.PaymentMethod.ID)
	f.Error = failure(d.FailureCode, "", "")
	if f.Amount, err = major(first(d.CapturedAmount, d.CaptureAmount, d.PaidAmount, d.RequestAmount, d.ChargeAmount, d.Amount.Initial), d.currency()); err != nil {
		return f, err
	}
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
		switch {
		case len(d.Captures) > 0:
			err = d.captured(&f)
		case d.Authorized != "" && d.Capturable != "":
			err = d.capturedSoFar(&f)
		}
	}
	return f, err
}

// xenditPaid reads a payment by an older webhook, which has an id of its own, that of
// the invoice or of the payment at the bank or outlet, and mostly names the payment.
// A payment_id of 13 digits is no identity: in Xendit's documentation it is the time
// of the transaction in milliseconds, which two payments can have in common.
func xenditPaid(d xenditData, typ schemas.Type, o Options) (fact, error) {
	f, err := xenditPayment(d, typ, o)
	isTime := len(d.PaymentID) == 13 && strings.Trim(string(d.PaymentID), "0123456789") == ""
	if d.PaymentID != "" && d.ID != "" && !isTime {
		f.Identity, f.Also = string(d.PaymentID), []string{string(d.ID)}
	}
	return f, err
}

// capturedSoFar fills in the sum of all captures by what can still be captured: Xendit
// does not say whether captured_amount is that of the capture or the sum.
func (d xenditData) capturedSoFar(f *fact) error {
	all, err := major(d.Authorized, d.currency())
	if err != nil {
		return err
	}
	left, err := major(d.Capturable, d.currency())
	if err != nil {
		return err
	}
	if all.Value > left.Value {
		f.CapturedAmount = &schemas.Amount{Value: all.Value - left.Value, Currency: all.Currency}
	}
	return nil
}

// captured fills in the amount of the last capture and the sum of all captures.
func (d xenditData) captured(f *fact) error {
	var all schemas.Amount
	for _, c := range d.Captures {
		a, err := major(c.Amount, d.currency())
		if err != nil || a == nil {
			return err
		}
		all = schemas.Amount{Value: all.Value + a.Value, Currency: a.Currency}
		f.Amount = a
	}
	f.CapturedAmount = &all
	if n := len(d.Captures); n > 1 {
		f.Also = nil
		f.Identity += "/" + first(d.Captures[n-1].ID, text(strconv.Itoa(n)))
	}
	return nil
}

// xenditSession reads a session: a page on which the payer pays or stores a
// payment method. A paid session and the event of its payment are one fact and
// have one identity, as have a completed session that stores a payment method and
// the event of the token. A paid session names its payment; one that does not is
// identified by its payment request or its own id.
func xenditSession(d xenditData, typ schemas.Type, o Options) (f fact, err error) {
	paid := typ == schemas.PaymentCaptured
	switch {
	case d.SessionType == "SAVE" && paid && d.PaymentTokenID != "":
		d.ID, d.Status = "", ""
		return xenditToken(d, schemas.MandateActive, o)
	case d.SessionType == "SAVE":
		f.Why = "the session stored a payment method and does not name it"
		return f, nil
	case paid && d.CaptureMethod == "MANUAL":
		typ = schemas.PaymentAuthorized
	}
	if d.PaymentID == "" && d.PaymentRequestID == "" {
		d.PaymentID = d.PaymentSessionID
	}
	d.ID, d.Status = "", ""
	if d.Type == "" && d.PaymentID != "" && d.PaymentRequestID != "" {
		d.Type = "PAY"
	}
	return xenditPayment(d, typ, o)
}

// xenditRefund reads a refund. The reference is that of the refund and not of
// the payment. Refunds of ewallets and QR codes have the event name of a
// success even if they failed.
func xenditRefund(d xenditData, typ schemas.Type, o Options) (f fact, err error) {
	if d.ID == "" {
		return f, xenditMissing()
	}
	switch d.Status {
	case "FAILED":
		typ = schemas.RefundFailed
	case "PENDING":
		typ = schemas.RefundPending
	case "CANCELLED":
		typ = schemas.RefundCancelled
	}
	f.Type, f.Identity, f.ConnectorRefundID = typ, string(d.ID), string(d.ID)
	f.MerchantTransactionID, f.MerchantRefundID = o.merchantID(d.Metadata), string(d.ReferenceID)
	f.ConnectorTransactionID = first(d.PaymentID, d.ChargeID, d.DirectDebitID, d.PaymentRequestID, d.InvoiceID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, d.PaymentRequestID, d.InvoiceID)
	f.PaymentMethod = d.method()
	f.Reason, f.Error = string(d.Reason), failure(d.FailureCode, "", "")
	f.Amount, err = major(first(d.RefundAmount, d.Amount.Initial), d.Currency)
	return f, err
}

// xenditDispute reads a dispute. It becomes open again if the bank asks for
// more evidence.
func xenditDispute(d xenditData, typ schemas.Type, _ Options) (f fact, err error) {
	if d.ID == "" {
		return f, xenditMissing()
	}
	switch {
	case typ == schemas.DisputeLost && d.StatusReason == "ACCEPTED":
		typ = schemas.DisputeAccepted
	case typ == schemas.DisputeWon && d.StatusReason == "WITHDRAWN":
		typ = schemas.DisputeCancelled
	}
	f.Type, f.Identity, f.ConnectorDisputeID = typ, string(d.ID), string(d.ID)
	if d.StatusReason != "" {
		f.Identity += "/" + string(d.StatusReason)
	}
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.ReferenceID), string(d.PaymentID)
	f.Reason, f.Stage, f.PaymentMethod = string(d.Category.Name), schemas.StageDispute, d.method()
	if d.StatusReason == "ARBITRATION" {
		f.Stage = schemas.StagePreArbitration
	}
	due, err := timestamp(d.DueDate, time.RFC3339)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(due)
	f.Amount, err = major(d.Amount.Initial, d.Currency)
	return f, err
}

// xenditPayout reads a payout. If the payout changes the currency, the amount
// is what arrives.
func xenditPayout(d xenditData, typ schemas.Type, _ Options) (f fact, err error) {
	f.ConnectorPayoutID = first(d.PayoutID, d.ID)
	if f.Type, f.Identity = typ, f.ConnectorPayoutID; f.Identity == "" {
		return f, xenditMissing()
	}
	if typ == schemas.PayoutSucceeded {
		f.Type = cmp.Or(xenditPayoutStatusTypes[d.Status], typ)
	}
	f.MerchantPayoutID = first(d.ReferenceID, d.ExternalID)
	f.MerchantTransactionID = f.MerchantPayoutID
	f.Error = failure(d.FailureCode, "", "")
	if d.PayoutID == "" {
		f.Amount, err = major(d.Amount.Initial, d.currency())
		return f, err
	}
	f.Amount, err = minorText(d.DestinationAmount, d.DestinationCurrency, xenditExponents)
	return f, err
}

// xenditToken reads a stored payment method.
func xenditToken(d xenditData, typ schemas.Type, _ Options) (f fact, err error) {
	if typ == schemas.MandateActive && (d.Status == "PENDING" || d.Status == "REQUIRES_ACTION") {
		f.Why = "the method cannot be charged yet"
		return f, nil
	}
	f.Type, f.ConnectorMandateID = typ, first(d.PaymentTokenID, d.ID)
	if f.Identity = f.ConnectorMandateID; f.Identity == "" {
		return f, xenditMissing()
	}
	f.MerchantTransactionID = string(d.ReferenceID)
	f.PaymentMethod = d.channel()
	f.Error = failure(d.FailureCode, "", "")
	return f, nil
}
