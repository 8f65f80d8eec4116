package normalize

import (
	"cmp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripePayoutTypes maps the event name of a payout to the event type.
var stripePayoutTypes = map[string]schemas.Type{
	"payout.created":  schemas.PayoutCreated,
	"payout.paid":     schemas.PayoutSucceeded,
	"payout.failed":   schemas.PayoutFailed,
	"payout.canceled": schemas.PayoutCancelled,
	"transfer.paid":   schemas.PayoutSucceeded,
	"transfer.failed": schemas.PayoutFailed,
}

// stripePayoutIdentity returns the identity of a payout's fact: the payout and what
// the event name says of it.
func stripePayoutIdentity(id, event string) string {
	return id + ":" + event[strings.LastIndex(event, ".")+1:]
}

// stripePayout reads a payout.
// https://docs.stripe.com/api/payouts/object
func stripePayout(change stripeChange, o Options) (f fact, err error) {
	var p struct {
		ID             string   `json:"id"`
		Status         text     `json:"status"`
		Amount         *int64   `json:"amount"`
		Currency       string   `json:"currency"`
		FailureCode    text     `json:"failure_code"`
		FailureMessage text     `json:"failure_message"`
		Metadata       metadata `json:"metadata"`
	}
	if err := redecode(change.object, &p); err != nil {
		return f, err
	}
	f.Type = stripePayoutTypes[change.event]
	f.Type = cmp.Or(stripeStatusTypes[f.Type][p.Status], f.Type)
	f.ConnectorPayoutID, f.Identity = p.ID, stripePayoutIdentity(p.ID, change.event)
	f.MerchantTransactionID = o.merchantID(p.Metadata)
	f.Error = failure(p.FailureCode, p.FailureMessage, "")
	// Payouts in HUF and TWD are in hundredths too, as in ISO 4217.
	f.Amount, err = minor(p.Amount, p.Currency, stripeExponents)
	return f, err
}

// stripeTransfer reads a transfer. Until API version 2017-04-06 payouts were
// transfers. So was money that a platform moves to another account at Stripe,
// which is no payout.
//
// https://docs.stripe.com/transfer-payout-split
func stripeTransfer(change stripeChange, o Options) (f fact, err error) {
	var t struct {
		Type text `json:"type"`
	}
	if err := redecode(change.object, &t); err != nil {
		return f, err
	}
	if t.Type == "stripe_account" {
		return ignored(change.event, "the transfer is between Stripe accounts, and not a payout"), nil
	}
	return stripePayout(change, o)
}
