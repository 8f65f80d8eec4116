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

// xendit: one event a webhook, {"event", "business_id", "created", "data"}.
// Disputes and the older webhooks send their fields without data, and invoices,
// virtual accounts, retail outlets and disbursements, which may come as a
// batch, without an event too. Amounts are numbers in major units; only those
// of payouts of version 3 are in minor ones. The identity is the id of the
// thing; its state makes the type.
//
// https://docs.xendit.co/docs/payments-api-webhooks
// https://docs.xendit.co/apidocs/dispute-webhook-notifications
// https://docs.xendit.co/apidocs/payout-v3-webhook
var xendit = Connector{
	Docs:      "https://docs.xendit.co/docs/payments-api-webhooks",
	Key:       "data.reference_id of payments and payouts, reference_id of disputes; external_id of the older ones; data.metadata.<merchant_id_keys> of refunds",
	Normalize: xenditNormalize,
}

// xenditEvents are what the events mean, and what reads their data.
var xenditEvents = map[string]struct {
	read func(xenditData, schemas.Type, Options) (Fact, error)
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
	"dispute.due_date_approaching": {xenditDispute, schemas.DisputeOpened}, // that it is open, once more
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

	"invoice PAID":    {xenditPayment, schemas.PaymentCaptured},
	"invoice SETTLED": {xenditPayment, schemas.PaymentCaptured},
	"invoice EXPIRED": {xenditPayment, schemas.PaymentExpired},

	"virtual account paid": {xenditPayment, schemas.PaymentCaptured},
	"retail outlet paid":   {xenditPayment, schemas.PaymentCaptured},

	"disbursement PENDING":   {xenditPayout, schemas.PayoutProcessing},
	"disbursement COMPLETED": {xenditPayout, schemas.PayoutSucceeded},
	"disbursement FAILED":    {xenditPayout, schemas.PayoutFailed},
}

// xenditExponents: version 3 of payouts counts rupiahs, which ISO 4217 divides.
var xenditExponents = map[string]int{"IDR": 0}

// xenditEvent is a webhook without what it is about, which is only read where
// its name is known. Of webhooks without data, created is when the thing was
// made, and not when anything happened.
type xenditEvent struct {
	Event         text           `json:"event"`
	Created       text           `json:"created"`
	Data          jsontext.Value `json:"data"`
	Disbursements jsontext.Value `json:"disbursements"` // of a batch
	xenditOlder
}

// xenditOlder is by what webhooks without an event are known.
type xenditOlder struct {
	Status                  text `json:"status"`
	ExternalID              text `json:"external_id"`
	PaymentID               text `json:"payment_id"`
	VirtualAccountID        text `json:"callback_virtual_account_id"`
	PaymentCodeID           text `json:"fixed_payment_code_id"`
	DisbursementDescription text `json:"disbursement_description"`
	AccountHolderName       text `json:"account_holder_name"`
}

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
	Data *xenditData `json:"data"` // refunds are documented in an event that is in an event

	ChargeID       text `json:"charge_id"`       // of refunds: the payment of an ewallet
	DirectDebitID  text `json:"direct_debit_id"` // and that of an account
	RefundAmount   text `json:"refund_amount"`
	CapturedAmount text `json:"captured_amount"`
	Captures       []struct {
		ID     text `json:"capture_id"`
		Amount text `json:"capture_amount"`
	} `json:"captures"`
	CaptureMethod    text         `json:"capture_method"`
	PaymentMethod    xenditMethod `json:"payment_method"`
	PaymentMethodID  text         `json:"payment_method_id"`
	PaymentSessionID text         `json:"payment_session_id"`
	SessionType      text         `json:"session_type"`

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

	// Of virtual accounts, retail outlets, ewallets and disbursements, which are
	// older and of Indonesia.
	VirtualAccountID        text `json:"callback_virtual_account_id"`
	PaymentCodeID           text `json:"fixed_payment_code_id"`
	DisbursementDescription text `json:"disbursement_description"`
	AccountHolderName       text `json:"account_holder_name"`
	TransactionTimestamp    text `json:"transaction_timestamp"`
	BankCode                text `json:"bank_code"`
	RetailOutletName        text `json:"retail_outlet_name"`
	EwalletType             text `json:"ewallet_type"`
}

// xenditMethod is payment_method: a stored method with its type, or, in
// invoices, a word.
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

// xenditAmount is an amount, or, in disputes, what was contested at first.
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

func xenditNormalize(payload []byte, o Options) ([]Fact, error) {
	var e xenditEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	switch {
	case e.Event == "" && e.Disbursements.Kind() == '[':
		var batch []jsontext.Value
		if err := redecode(e.Disbursements, &batch); err != nil {
			return nil, err
		}
		facts := make([]Fact, len(batch))
		for i, d := range batch {
			facts[i] = xenditDisbursement(d, o)
		}
		return facts, nil
	case e.Event == "" && e.Data.Kind() == '{': // the data says what it is about
		var d xenditOlder
		if err := redecode(e.Data, &d); err != nil {
			return nil, err
		}
		e.xenditOlder = d
	}
	event := first(string(e.Event), e.event())
	if event == "" {
		return nil, fmt.Errorf("%w: no event and no invoice: not a webhook of Xendit's", ErrMalformed)
	}
	about, happened := e.Data, e.Created
	if len(about) == 0 || about.Kind() == 'n' { // an older webhook, whose fields stand outside
		about, happened = payload, ""
	}
	return []Fact{xenditFact(event, about, happened, o)}, nil
}

// xenditDisbursement is one of a batch.
func xenditDisbursement(about jsontext.Value, o Options) Fact {
	var d xenditOlder
	if err := redecode(about, &d); err != nil {
		return malformed("disbursement", err)
	}
	return xenditFact("disbursement "+string(d.Status), about, "", o)
}

// event is what a webhook without an event is about.
func (d xenditOlder) event() string {
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

// currency of an amount: the older webhooks do not name that of Indonesia.
func (d xenditData) currency() string {
	for _, id := range []text{d.VirtualAccountID, d.PaymentCodeID, d.QRCode.ExternalID, d.EwalletType, d.BankCode, d.AccountHolderName, d.DisbursementDescription} {
		if id != "" {
			return first(d.Currency, "IDR")
		}
	}
	return string(d.Currency)
}

// xenditChannels are channels of payment by the kind of method that they are.
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

// channel is a method of payment by the channel, which the newer webhooks name in
// place of what kind of method it is. A channel that is not known is the kind.
func (d xenditData) channel() *schemas.PaymentMethod {
	channel := strings.ToLower(string(d.ChannelCode))
	if country, rest, ok := strings.Cut(channel, "_"); ok && len(country) == 2 && xenditChannels[rest] != "" { // id_ovo
		channel = rest
	}
	bank, virtual := strings.CutSuffix(channel, "_virtual_account")
	debited, debit := strings.CutPrefix(channel, "ba_") // an account of the payer's
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

// method of payment: the channel, or what the older webhooks have of it.
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

// xenditFact reads what a webhook is about, and happened is when, if it says so.
func xenditFact(name string, about jsontext.Value, happened text, o Options) Fact {
	event, ok := xenditEvents[name]
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

// at is when it happened. When a thing was made counts only for what begins with
// it: an invoice expires days after it was made.
func (d xenditData) at(typ schemas.Type, happened text) string {
	made, updated := text(first(d.Created, d.CreatedAt)), text(first(d.Updated, d.UpdatedAt))
	begins := false
	switch typ {
	case schemas.PaymentCaptured:
		if at := first(d.PaidAt, d.TransactionTimestamp); at != "" {
			return at
		}
		begins = d.QRCode.ExternalID != "" || d.EwalletType != "" // these are made by being paid
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

// xenditStatuses is what happened where an event's name says that the money was
// taken, and the status of the payment says otherwise: the status counts.
// Ewallets, accounts and QR codes have one name for all of them.
var xenditStatuses = map[text]schemas.Type{
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

// xenditPayoutStatuses is the same of payouts.
var xenditPayoutStatuses = map[text]schemas.Type{
	"REQUESTED": schemas.PayoutProcessing,
	"ACCEPTED":  schemas.PayoutProcessing,
	"PENDING":   schemas.PayoutProcessing,
	"FAILED":    schemas.PayoutFailed,
	"CANCELLED": schemas.PayoutCancelled,
	"EXPIRED":   schemas.PayoutExpired,
	"REVERSED":  schemas.PayoutReversed,
}

// xenditNothing is the error of an event without the thing it is about.
func xenditNothing() error { return fmt.Errorf("%w: no data.id", ErrMalformed) }

// xenditPayment: what was captured more than once has an event for
// each, and all of them hold the first.
func xenditPayment(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	f.ConnectorTransactionID = first(d.PaymentID, d.PaymentRequestID, d.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, d.PaymentRequestID) // all that a refund may name
	if f.Identity = first(d.ID, d.PaymentID, d.PaymentRequestID); f.Identity == "" {
		return f, xenditNothing()
	}
	if typ == schemas.PaymentCaptured {
		typ = cmp.Or(xenditStatuses[d.Status], typ)
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
		if f.CapturedAmount = f.Amount; len(d.Captures) > 0 {
			err = d.captured(&f)
		}
	}
	return f, err
}

// captured is how much the last capture took, and all of them together.
func (d xenditData) captured(f *Fact) error {
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
		f.Identity += "/" + first(d.Captures[n-1].ID, text(strconv.Itoa(n)))
	}
	return nil
}

// xenditSession is a page on which the payer pays or stores a method. That it
// was paid is what the payment's own event tells, and has its identity.
func xenditSession(d xenditData, typ schemas.Type, o Options) (f Fact, err error) {
	paid := typ == schemas.PaymentCaptured
	switch {
	case d.SessionType == "SAVE":
		f.Why = "a session that stores a payment method; payment_token.activation tells"
		return f, nil
	case paid && d.PaymentID == "":
		f.Why = "the session does not name its payment, whose own event tells"
		return f, nil
	case paid && d.CaptureMethod == "MANUAL":
		typ = schemas.PaymentAuthorized
	case !paid && d.PaymentID == "" && d.PaymentRequestID == "":
		d.PaymentID = d.PaymentSessionID
	}
	d.ID, d.Status = "", ""
	return xenditPayment(d, typ, o)
}

// xenditRefund: the reference is the refund's own. Those of ewallets and QR
// codes tell of a failure under the name of the success.
func xenditRefund(d xenditData, typ schemas.Type, o Options) (f Fact, err error) {
	if d.ID == "" {
		return f, xenditNothing()
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

// xenditDispute: the bank can ask for more, and then the dispute is open again.
func xenditDispute(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	if d.ID == "" {
		return f, xenditNothing()
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

// xenditPayout: of one that changes the currency, what arrives is the amount.
func xenditPayout(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	f.ConnectorPayoutID = first(d.PayoutID, d.ID)
	if f.Type, f.Identity = typ, f.ConnectorPayoutID; f.Identity == "" {
		return f, xenditNothing()
	}
	if typ == schemas.PayoutSucceeded {
		f.Type = cmp.Or(xenditPayoutStatuses[d.Status], typ)
	}
	f.MerchantPayoutID = first(d.ReferenceID, d.ExternalID)
	f.MerchantTransactionID = f.MerchantPayoutID
	f.Error = failure(d.FailureCode, "", "")
	if d.PayoutID == "" {
		f.Amount, err = major(d.Amount.Initial, d.currency())
		return f, err
	}
	if d.DestinationAmount == "" {
		return f, nil
	}
	n, err := strconv.ParseInt(string(d.DestinationAmount), 10, 64)
	if err != nil {
		return f, fmt.Errorf("%w: amount %q is not a whole number of minor units", ErrMalformed, d.DestinationAmount)
	}
	f.Amount, err = minor(&n, d.DestinationCurrency, xenditExponents)
	return f, err
}

// xenditToken is a stored payment method.
func xenditToken(d xenditData, typ schemas.Type, _ Options) (f Fact, err error) {
	if typ == schemas.MandateActive && (d.Status == "PENDING" || d.Status == "REQUIRES_ACTION") {
		f.Why = "the method cannot be charged yet"
		return f, nil
	}
	f.Type, f.ConnectorMandateID = typ, first(d.PaymentTokenID, d.ID)
	if f.Identity = f.ConnectorMandateID; f.Identity == "" {
		return f, xenditNothing()
	}
	f.MerchantTransactionID = string(d.ReferenceID)
	f.PaymentMethod = d.channel()
	f.Error = failure(d.FailureCode, "", "")
	return f, nil
}
