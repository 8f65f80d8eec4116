package normalize

import (
	"fmt"
	"regexp"

	"github.com/tollbridge/tollbridge/schemas"
)

// skrill normalises Skrill's status reports: a form about one payment or payout and its
// status. The form does not say which of the two it is. The merchant names a status_url
// for each payout, so payouts can have an endpoint of their own, and the endpoint's
// setting says so.
//
// The merchant's reference, the status, mb_amount and mb_currency are signed,
// and they are the identity. mb_amount is in the currency of the merchant's
// account. If it was converted, it can have more decimals than its currency;
// the event then has no amount. The amount that the merchant requested, in the
// fields amount and currency, is not signed, and is read only where no
// signature is checked.
//
// https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf
// https://docs.paysafe.com/docs/digital-wallets/unlinked-merchant-bank-payouts/payout-status-notification
var skrill = Connector{
	Docs:      "https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf",
	Key:       "transaction_id",
	Settings:  []Setting{skrillReports},
	Tellers:   sentToURL(skrillTellers),
	Captures:  CountsOnce, // the status of a payment
	normalize: skrillNormalize,
}

// skrillTellers lists the event types.
var skrillTellers = []Teller{
	{Event: "-1", Facts: []schemas.Type{schemas.PaymentCancelled, schemas.PayoutCancelled}},
	{Event: "-2", Facts: []schemas.Type{schemas.PaymentFailed, schemas.PayoutFailed}},
	{Event: "-3", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "-4", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "0", Facts: []schemas.Type{schemas.PaymentProcessing, schemas.PayoutProcessing}},
	{Event: "1", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "2", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PayoutSucceeded}},
}

// skrillReports is the setting that says whether the reports of an endpoint are
// about payouts.
var skrillReports = Setting{Name: "reports", Description: "payouts, if the endpoint is the status_url of payouts"}

// skrillConverted matches an amount that was converted from another currency.
var skrillConverted = regexp.MustCompile(`\A[0-9]+\.[0-9]{3,8}\z`)

// skrillTypes maps the status of a payment to the event type.
var skrillTypes = map[string]schemas.Type{
	"2":  schemas.PaymentCaptured,
	"0":  schemas.PaymentProcessing,
	"-1": schemas.PaymentCancelled,
	"-2": schemas.PaymentFailed,
	"-3": schemas.DisputeOpened, // a chargeback
}

// skrillPayoutTypes maps the status of a payout to the event type.
var skrillPayoutTypes = map[string]schemas.Type{
	"0":  schemas.PayoutProcessing,
	"1":  schemas.PayoutProcessing, // scheduled
	"2":  schemas.PayoutSucceeded,
	"-1": schemas.PayoutCancelled,
	"-2": schemas.PayoutFailed,
	"-4": schemas.PayoutReversed, // the recipient's bank sent it back
}

func skrillNormalize(payload []byte, o Options) ([]fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	status := p["status"]
	if status == "" || p["transaction_id"] == "" && p["mb_transaction_id"] == "" {
		return nil, fmt.Errorf("%w: no status or no transaction_id: not a status report of Skrill's", ErrMalformed)
	}
	var f fact
	if f.Type = skrillTypes[status]; f.Type == "" || o.Settings[skrillReports.Name] == "payouts" {
		f.Type = skrillPayoutTypes[status]
	}
	if f.Type == "" {
		return []fact{unknownStatus(status, "the status", status)}, nil
	}
	f.Identity = p["transaction_id"] + "/" + status + "/" + p["mb_amount"] + "/" + p["mb_currency"]
	f.Account, f.ConnectorEventType = p["merchant_id"], status
	f.MerchantTransactionID, f.ConnectorTransactionID = p["transaction_id"], p["mb_transaction_id"]
	f.PaymentMethod = skrillMethod(p["payment_type"])
	f.UnsignedIDs = true
	switch f.Amount, err = major(p["mb_amount"], p["mb_currency"]); {
	case err == nil:
	case !skrillConverted.MatchString(p["mb_amount"]):
		return oneMalformed(status, err)
	case o.Unsigned:
		if f.Amount, err = major(p["amount"], p["currency"]); err != nil {
			return oneMalformed(status, err)
		}
	}
	if f.Type.Family() == "payout" {
		f.PaymentMethod = nil
		f.ConnectorTransactionID, f.ConnectorPayoutID, f.MerchantPayoutID = "", p["mb_transaction_id"], p["transaction_id"]
	}
	f.setAmountByType()
	switch f.Type {
	case schemas.PaymentFailed, schemas.PayoutFailed:
		f.Error = failure(p["failed_reason_code"], "", "")
	case schemas.DisputeOpened:
		f.Stage = schemas.StageDispute
	}
	return []fact{f}, nil
}

// skrillMethods maps Skrill's codes for brands of cards and wallets to the kind
// and the brand. Any other code becomes the kind, in lower case.
var skrillMethods = map[string][2]string{
	"ACC": {"card", ""}, // of any brand
	"VSA": {"card", "visa"},
	"VSD": {"card", "visa"},
	"VSE": {"card", "visa_electron"},
	"MSC": {"card", "mastercard"},
	"MAE": {"card", "maestro"},
	"AMX": {"card", "amex"},
	"DIN": {"card", "diners"},
	"JCB": {"card", "jcb"},
	"GCB": {"card", "carte_bleue"},
	"DNK": {"card", "dankort"},
	"PSP": {"card", "postepay"},
	"CSI": {"card", "cartasi"},
	"WLT": {"wallet", "skrill"},
	"NTL": {"wallet", "neteller"},
}

// skrillMethod returns the payment method of a code.
func skrillMethod(code string) *schemas.PaymentMethod {
	if m, ok := skrillMethods[code]; ok {
		return method(m[0], m[1])
	}
	return method(code, "")
}
