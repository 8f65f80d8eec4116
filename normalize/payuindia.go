package normalize

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// payuIndia normalises PayU India's webhooks. A payment is a form, sent when
// the payment ends. Its status, amount and txnid are signed; unmappedstatus is
// not. It is used only where it claims less than the status does: a payment
// with status "success" and unmappedstatus "auth" is not yet captured. The
// identity is the merchant's txnid, which PayU requires to be unique, and the
// status.
//
// Disputes and refunds are JSON. A dispute has PayU's id of the payment and no
// reference of the merchant's. Its identity consists of all its signed fields.
// Payments and disputes have the same account, the merchant key, so that they
// can be joined by PayU's id. That id is not signed in the payment's form, so
// no reference is stored for it, and a dispute keeps its fallback key. PayU
// does not sign refunds: none is ever verified, and they are read only for
// inspection.
//
// https://docs.payu.in/docs/webhook-events-and-sample-payloads
// https://docs.payu.in/docs/webhooks-for-chargeback
// https://docs.payu.in/docs/chargeback-types
var payuIndia = Connector{
	Docs:      "https://docs.payu.in/docs/webhook-events-and-sample-payloads",
	Key:       "txnid; disputes have none",
	Tellers:   sentToURL(payuIndiaTellers),
	Captures:  CountsOnce, // amount of the txnid, which is paid once
	normalize: payuIndiaNormalize,
}

// payuIndiaTellers lists the event types.
var payuIndiaTellers = []Teller{
	{Event: "Bank Comm Sent", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "Closed Customer Favour", Facts: []schemas.Type{schemas.DisputeLost}},
	{Event: "Closed in Customer favour", Facts: []schemas.Type{schemas.DisputeLost}},
	{Event: "Closed in Merchant Favour", Facts: []schemas.Type{schemas.DisputeWon}},
	{Event: "Closed under Fraud Liability", Facts: []schemas.Type{schemas.DisputeWon}},
	{Event: "Insufficient Document", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "New", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "Pending Doc Review", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "Pending Response", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "dispute", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "failure", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "pending", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "success", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentCaptured}},
}

// payuIndiaTypes maps the status of a payment to the event type.
var payuIndiaTypes = map[string]schemas.Type{
	"success": schemas.PaymentCaptured,
	"failure": schemas.PaymentFailed,
	"failed":  schemas.PaymentFailed,
	"pending": schemas.PaymentProcessing,
}

// payuIndiaMethods maps PayU's abbreviations to kinds of payment method.
var payuIndiaMethods = map[string]string{
	"CC": "credit_card",
	"DC": "debit_card",
	"NB": "net_banking",
}

// payuIndiaRefundTypes maps the status of a refund to the event type.
var payuIndiaRefundTypes = map[text]schemas.Type{
	"success": schemas.RefundSucceeded,
	"failure": schemas.RefundFailed,
}

func payuIndiaNormalize(payload []byte, o Options) ([]fact, error) {
	if bytes.HasPrefix(bytes.TrimSpace(payload), []byte("{")) { // verify distinguishes them in the same way
		return payuIndiaJSON(payload, o)
	}
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	status := p["status"]
	f := fact{Type: payuIndiaTypes[status]}
	switch {
	case status == "":
		return nil, fmt.Errorf("%w: no status: not a payment of PayU's", ErrMalformed)
	case f.Type == "":
		return []fact{unknownStatus(status, "the status", status)}, nil
	case p["txnid"] == "":
		return oneMalformed(status, fmt.Errorf("%w: no txnid: not a payment of PayU's", ErrMalformed))
	}
	if f.Type == schemas.PaymentCaptured && p["unmappedstatus"] == "auth" {
		f.Type = schemas.PaymentAuthorized
	}
	f.Identity = p["txnid"] + "/" + status
	f.Account, f.ConnectorEventType = p["key"], status
	f.MerchantTransactionID, f.ConnectorTransactionID, f.UnsignedIDs = p["txnid"], p["mihpayid"], true
	f.PaymentMethod = method(cmp.Or(payuIndiaMethods[p["mode"]], p["mode"]), p["card_type"])
	if f.Amount, err = major(p["amount"], "INR"); err != nil {
		return oneMalformed(status, err)
	}
	f.setAmountByType()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(p["error"], first(p["error_Message"], p["field9"]), "")
	}
	return []fact{f}, nil
}

// payuIndiaCase is a dispute or a refund.
type payuIndiaCase struct {
	DisputeID text `json:"cb_id"`
	Payment   text `json:"txn_id"`
	Disputed  text `json:"cb_amount"`
	Type      text `json:"cb_type"`
	State     text `json:"cb_status"`
	Reason    text `json:"reason_code"`
	Due       text `json:"due_date"`
	Updated   text `json:"updated_at"`

	RefundID text `json:"request_id"`
	Token    text `json:"token"`
	TxnID    text `json:"merchantTxnId"`
	PayuID   text `json:"mihpayid"`
	Amount   text `json:"amt"`
	Status   text `json:"status"`
	Remark   text `json:"remark"`
	Key      text `json:"key"`
}

// payuIndiaJSON reads a dispute or a refund.
func payuIndiaJSON(payload []byte, o Options) ([]fact, error) {
	var c payuIndiaCase
	if err := decode(payload, &c); err != nil {
		return nil, err
	}
	event, read := first(string(c.State), "dispute"), c.dispute // an object with a cb_id is a dispute, which is signed, whatever other fields it has
	switch {
	case c.DisputeID != "":
	case c.RefundID == "":
		return nil, fmt.Errorf("%w: no cb_id and no request_id: neither a dispute nor a refund of PayU's", ErrMalformed)
	case payuIndiaRefundTypes[c.Status] == "":
		return []fact{unknownStatus(c.Status, "the refund status", c.Status)}, nil
	default:
		event, read = string(c.Status), c.refund
	}
	f, err := read(o.Settings["merchant_key"]) // verify uses the same setting, and it is signed
	return oneFact(event, f, err)
}

// dispute reads a dispute. Its status has older and newer names, in several spellings.
// A dispute that is neither closed nor under review by PayU or the bank waits for the
// merchant.
func (c payuIndiaCase) dispute(account string) (f fact, err error) {
	state := strings.ToLower(strings.ReplaceAll(string(c.State), " ", ""))
	switch closed := strings.HasPrefix(state, "closed"); {
	case closed && strings.Contains(state, "customer"):
		f.Type = schemas.DisputeLost
	case closed: // in favour of the merchant, or PayU bears the loss
		f.Type = schemas.DisputeWon
	case state == "pendingdocreview", state == "submittedtobank", state == "mecommreceived", state == "bankcommsent":
		f.Type = schemas.DisputeChallenged
	default:
		f.Type = schemas.DisputeOpened
	}
	f.Identity = strings.Join([]string{string(c.DisputeID), state, string(c.Type), string(c.Disputed)}, "/")
	f.Account, f.ConnectorTransactionID, f.ConnectorDisputeID = account, string(c.Payment), string(c.DisputeID)
	f.Reason, f.Stage = string(c.Reason), schemas.StageDispute
	if strings.Contains(strings.ToLower(string(c.Type)), "arb") { // Pre-arb, Arbitration
		f.Stage = schemas.StagePreArbitration
	}
	if f.Time, err = timestamp(c.Updated, time.RFC3339); err != nil {
		return f, err
	}
	due, err := timestamp(c.Due, time.DateOnly)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(due)
	f.Amount, err = major(c.Disputed, "INR")
	return f, err
}

// refund reads a refund.
func (c payuIndiaCase) refund(string) (f fact, err error) {
	f.Type = payuIndiaRefundTypes[c.Status]
	f.Identity = string(c.RefundID + "/" + c.Status)
	f.Account, f.MerchantTransactionID = string(c.Key), string(c.TxnID)
	f.ConnectorTransactionID = strings.TrimSpace(string(c.PayuID)) // PayU's samples have spaces around it
	f.ConnectorRefundID, f.MerchantRefundID = string(c.RefundID), string(c.Token)
	if f.Type == schemas.RefundFailed {
		f.Error = failure("", c.Remark, "")
	}
	f.Amount, err = major(c.Amount, "INR")
	return f, err
}
