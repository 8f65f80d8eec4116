package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// coinbaseCommerce: one event a webhook, {"id", "attempt_number", "event":
// {"id", "type", "data"}}, the data being the charge. The outer id and what
// stands beside it change with every attempt; the event's id does not.
//
// The amount is the price of the charge, which charges without a price have
// not. What was paid is told in coins, and not as an amount.
//
// https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields
var coinbaseCommerce = Connector{
	Docs:      "https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields",
	Key:       "event.data.metadata.<merchant_id_keys>",
	Normalize: coinbaseCommerceNormalize,
}

// coinbaseCommerceTypes are what the events mean. Why a charge failed is told
// by the last entry of its timeline.
var coinbaseCommerceTypes = map[string]schemas.Type{
	"charge:pending":   schemas.PaymentProcessing,
	"charge:confirmed": schemas.PaymentCaptured,
	"charge:resolved":  schemas.PaymentCaptured, // the merchant took what was paid too late or too little
	"charge:delayed":   schemas.PaymentActionRequired,
	"charge:failed":    schemas.PaymentFailed,
}

var coinbaseCommerceFailures = map[text]schemas.Type{
	"EXPIRED":  schemas.PaymentExpired,
	"CANCELED": schemas.PaymentCancelled,
}

type coinbaseCommerceEvent struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	CreatedAt text   `json:"created_at"`
	Data      struct {
		ID       text     `json:"id"`
		Code     text     `json:"code"`
		Metadata metadata `json:"metadata"`
		Pricing  struct {
			Local struct {
				Amount   text   `json:"amount"`
				Currency string `json:"currency"`
			} `json:"local"`
		} `json:"pricing"`
		Payments []struct {
			Network text `json:"network"`
		} `json:"payments"`
		Timeline []struct {
			Status  text `json:"status"`
			Context text `json:"context"`
		} `json:"timeline"`
	} `json:"data"`
}

func coinbaseCommerceNormalize(payload []byte, o Options) ([]Fact, error) {
	var delivery struct {
		Event coinbaseCommerceEvent `json:"event"`
	}
	if err := decode(payload, &delivery); err != nil {
		return nil, err
	}
	e := delivery.Event
	switch {
	case e.ID == "" || e.Type == "":
		return nil, fmt.Errorf("%w: no event.id or no event.type: not an event of Coinbase Commerce's", ErrMalformed)
	case e.Type == "charge:created":
		return []Fact{ignored(e.Type, "the charge is open and nobody has paid")}, nil
	case coinbaseCommerceTypes[e.Type] == "":
		return []Fact{notUnified(e.Type)}, nil
	}
	f, err := e.fact(o)
	if err != nil {
		return []Fact{malformed(e.Type, err)}, nil
	}
	return []Fact{f}, nil
}

func (e coinbaseCommerceEvent) fact(o Options) (f Fact, err error) {
	d := e.Data
	if f.ConnectorTransactionID = first(d.ID, d.Code); f.ConnectorTransactionID == "" {
		return f, fmt.Errorf("%w: no id or code of event.data: it is not told what the event is about", ErrMalformed)
	}
	f.Type, f.Identity = coinbaseCommerceTypes[e.Type], e.ID
	f.ConnectorEventID, f.ConnectorEventType = e.ID, e.Type
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	if len(d.Payments) > 0 {
		f.PaymentMethod = method(string(d.Payments[len(d.Payments)-1].Network), "")
	}
	if n := len(d.Timeline); n > 0 && f.Type == schemas.PaymentFailed {
		last := d.Timeline[n-1]
		if typ := coinbaseCommerceFailures[last.Status]; typ != "" {
			f.Type = typ
		}
		f.Error = failure(first(last.Context, last.Status), "", "")
	}
	if f.Time, err = timestamp(string(e.CreatedAt), time.RFC3339); err != nil {
		return f, err
	}
	if _, iso := schemas.Exponent(d.Pricing.Local.Currency); iso { // a price can be in coins
		f.Amount, err = major(string(d.Pricing.Local.Amount), d.Pricing.Local.Currency)
	}
	return f, err
}
