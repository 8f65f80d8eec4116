package normalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypalStages maps the life cycle stage of a dispute to its stage.
var paypalStages = map[string]schemas.Stage{
	"INQUIRY":         schemas.StagePreDispute,
	"CHARGEBACK":      schemas.StageDispute,
	"PRE_ARBITRATION": schemas.StagePreArbitration,
	"ARBITRATION":     schemas.StagePreArbitration,
}

// paypalDisputeOutcomeTypes maps the outcome of a dispute to the event type.
// https://developer.paypal.com/api/customer-disputes/v1/definitions/dispute_outcome
var paypalDisputeOutcomeTypes = map[string]schemas.Type{
	"RESOLVED_BUYER_FAVOUR":  schemas.DisputeLost,
	"RESOLVED_SELLER_FAVOUR": schemas.DisputeWon,
	"RESOLVED_WITH_PAYOUT":   schemas.DisputeWon, // PayPal pays: the merchant keeps the money
	"DENIED":                 schemas.DisputeWon, // the claim of the buyer was denied
	"ACCEPTED":               schemas.DisputeAccepted,
	"CANCELED_BY_BUYER":      schemas.DisputeCancelled,
	"NONE":                   schemas.DisputeCancelled, // closed without a decision, because another dispute is about the same payment
}

// paypalDisputeObject is a dispute.
// https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_get
type paypalDisputeObject struct {
	DisputeID    text        `json:"dispute_id"`
	ID           text        `json:"id"` // its old name
	Reason       text        `json:"reason"`
	ReasonCode   text        `json:"external_reason_code"`
	Status       string      `json:"status"`
	Amount       paypalMoney `json:"dispute_amount"`
	Stage        string      `json:"dispute_life_cycle_stage"`
	Due          string      `json:"seller_response_due_date"`
	Transactions []struct {
		paypalReference
		SellerTransactionID text `json:"seller_transaction_id"`
	} `json:"disputed_transactions"`
	Outcome struct {
		Code string `json:"outcome_code"`
	} `json:"dispute_outcome"`
	Evidences []struct {
		Source string `json:"source"`
	} `json:"evidences"`
}

// paypalDispute reads a dispute. Some updates are only about messages, so the
// identity is the dispute, its stage and, while it is open, the date by which
// the merchant has to respond.
func paypalDispute(event string, resource part) (f fact, err error) {
	var d paypalDisputeObject
	if err := decode(resource, &d); err != nil {
		return f, err
	}
	typ, why, err := d.typ(event)
	if typ == "" || err != nil {
		return ignored(event, why), err
	}
	f.Type, f.Stage = typ, paypalStages[d.Stage]
	if f.ConnectorDisputeID = first(d.DisputeID, d.ID); f.ConnectorDisputeID == "" {
		return f, fmt.Errorf("%w: no dispute_id", ErrMalformed)
	}
	f.Identity = f.ConnectorDisputeID + ":" + d.Stage
	if typ == schemas.DisputeOpened {
		f.Identity += ":" + d.Due
	}
	f.Reason, f.ReasonCode = string(d.Reason), string(d.ReasonCode)
	if len(d.Transactions) > 0 {
		f.MerchantTransactionID = d.Transactions[0].id()
		f.ConnectorTransactionID = string(d.Transactions[0].SellerTransactionID)
	}
	due, err := timestamp(d.Due, time.RFC3339)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(due)
	f.Amount, err = d.Amount.amount()
	return f, err
}

// typ returns the event type, or the reason why the update reports no new fact.
func (d paypalDisputeObject) typ(event string) (typ schemas.Type, why string, err error) {
	resolved := event == "CUSTOMER.DISPUTE.RESOLVED"
	switch {
	case resolved || d.Status == "RESOLVED" && d.Outcome.Code != "":
		typ, ok := paypalDisputeOutcomeTypes[d.Outcome.Code]
		if !ok {
			err = unknownStatusError{"the outcome_code", string(d.Outcome.Code)}
		}
		return typ, "", err
	case strings.HasSuffix(event, ".CREATED"):
		return schemas.DisputeOpened, "", nil
	case d.Status == "UNDER_REVIEW" && d.answered():
		return schemas.DisputeChallenged, "", nil
	case d.Status == "OPEN" || d.Status == "WAITING_FOR_SELLER_RESPONSE" || d.Status == "UNDER_REVIEW":
		return schemas.DisputeOpened, "", nil
	}
	return "", fmt.Sprintf("a dispute in status %q is not decided and does not wait for the merchant", d.Status), nil
}

// answered reports whether the merchant submitted evidence.
func (d paypalDisputeObject) answered() bool {
	for _, e := range d.Evidences {
		if e.Source == "SUBMITTED_BY_SELLER" {
			return true
		}
	}
	return false
}
