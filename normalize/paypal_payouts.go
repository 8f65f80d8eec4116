package normalize

import (
	"slices"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypalPayoutTypes maps the event name of a payout to the event type.
var paypalPayoutTypes = map[string]schemas.Type{
	"PAYMENT.PAYOUTSBATCH.PROCESSING":          schemas.PayoutProcessing,
	"PAYMENT.PAYOUTSBATCH.SUCCESS":             schemas.PayoutSucceeded,
	"PAYMENT.PAYOUTSBATCH.DENIED":              schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.SUCCEEDED":           schemas.PayoutSucceeded,
	"PAYMENT.PAYOUTS-ITEM.FAILED":              schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.DENIED":              schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.BLOCKED":             schemas.PayoutFailed,
	"PAYMENT.PAYOUTS-ITEM.HELD":                schemas.PayoutProcessing, // PayPal reviews it
	"PAYMENT.PAYOUTS-ITEM.UNCLAIMED":           schemas.PayoutProcessing, // the receiver has 30 days to open an account
	"PAYMENT.PAYOUTS-ITEM.CANCELED":            schemas.PayoutCancelled,
	"PAYMENT.PAYOUTS-ITEM.RETURNED":            schemas.PayoutExpired, // nobody claimed it
	"PAYMENT.PAYOUTS-ITEM.REFUNDED":            schemas.PayoutReversed,
	"PAYMENT.REFERENCED-PAYOUT-ITEM.COMPLETED": schemas.PayoutSucceeded,
	"PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED":    schemas.PayoutFailed,
}

// paypalPendingPayoutStatuses are the statuses of payouts that have not arrived
// yet. A payout in one of these is processing, even if the event name says that
// it succeeded.
var paypalPendingPayoutStatuses = []text{"NEW", "PENDING", "PROCESSING", "ONHOLD", "UNCLAIMED"}

// paypalPayoutType returns the event type by the event name and the status.
func paypalPayoutType(event string, status text) schemas.Type {
	typ := paypalPayoutTypes[event]
	if typ == schemas.PayoutSucceeded && slices.Contains(paypalPendingPayoutStatuses, status) {
		return schemas.PayoutProcessing
	}
	return typ
}

// paypalPayoutBatch reads a batch of payouts. A batch is a payout of its own,
// for the sum of its items, which have their own events. It succeeded when
// PayPal has tried all items.
func paypalPayoutBatch(event string, resource part) (f fact, err error) {
	var b struct {
		Header struct {
			ID     text        `json:"payout_batch_id"`
			Status text        `json:"batch_status"`
			Amount paypalMoney `json:"amount"`
			Sender struct {
				ID text `json:"sender_batch_id"`
			} `json:"sender_batch_header"`
		} `json:"batch_header"`
	}
	if err := decode(resource, &b); err != nil {
		return f, err
	}
	f.Type = paypalPayoutType(event, b.Header.Status)
	f.Identity, f.ConnectorPayoutID = string(b.Header.ID), string(b.Header.ID)
	f.MerchantPayoutID, f.MerchantTransactionID = string(b.Header.Sender.ID), string(b.Header.Sender.ID)
	f.Amount, err = b.Header.Amount.amount()
	return f, err
}

// paypalPayoutItem reads one item of a batch.
// https://developer.paypal.com/docs/api/payments.payouts-batch/v1/
func paypalPayoutItem(event string, resource part) (f fact, err error) {
	var i struct {
		ID     text `json:"payout_item_id"`
		Status text `json:"transaction_status"`
		Item   struct {
			ID     text        `json:"sender_item_id"`
			Amount paypalMoney `json:"amount"`
		} `json:"payout_item"`
		Errors struct {
			Name    text `json:"name"`
			Message text `json:"message"`
		} `json:"errors"`
	}
	if err := decode(resource, &i); err != nil {
		return f, err
	}
	f.Type = paypalPayoutType(event, i.Status)
	f.ConnectorPayoutID = string(i.ID)
	if i.ID != "" {
		f.Identity = string(i.ID) + ":" + string(i.Status) // held and unclaimed are two facts of the type processing
	}
	f.MerchantPayoutID, f.MerchantTransactionID = string(i.Item.ID), string(i.Item.ID)
	f.Error = failure(i.Errors.Name, i.Errors.Message, "")
	f.Amount, err = i.Item.Amount.amount()
	return f, err
}

// paypalReferencedPayout reads the payout of a captured payment that PayPal
// held for its seller.
// https://developer.paypal.com/docs/api/referenced-payouts/v1/
func paypalReferencedPayout(event string, resource part) (f fact, err error) {
	var i struct {
		paypalReference
		ID          text        `json:"item_id"`
		ReferenceID text        `json:"reference_id"`
		Amount      paypalMoney `json:"payout_amount"`
		State       struct {
			Status text `json:"status"`
			Reason text `json:"reason"`
		} `json:"processing_state"`
	}
	if err := decode(resource, &i); err != nil {
		return f, err
	}
	f.Type = paypalPayoutType(event, i.State.Status)
	f.Identity, f.ConnectorPayoutID = string(i.ID), string(i.ID)
	f.MerchantTransactionID, f.ConnectorTransactionID = i.id(), string(i.ReferenceID)
	if f.Type == schemas.PayoutFailed {
		f.Error = failure(i.State.Reason, "", "")
	}
	f.Amount, err = i.Amount.amount()
	return f, err
}
