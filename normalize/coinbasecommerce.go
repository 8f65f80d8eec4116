package normalize

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// coinbaseCommerce reads one event for each webhook, {"id", "attempt_number",
// "event": {"id", "type", "data"}}, whose data is the charge. The outer fields change
// with each delivery attempt; event.id does not. The identity is the charge and its
// state: charge:confirmed and charge:resolved both say that the charge is paid.
//
// A charge may have a price, which is what the merchant asked for. Each of its payments
// has its value in coins and in the charge's currency. The captured amount is the sum
// of the payments, which can be less or more than the price.
//
// https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields
var coinbaseCommerce = Connector{
	Docs:      "https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-fields",
	Key:       "event.data.metadata.<merchant_id_keys>",
	Tellers:   coinbaseCommerceTellers,
	Captures:  CountsOnce, // the sum of the confirmed payments of a charge, which is confirmed once
	normalize: coinbaseCommerceNormalize,
}

// coinbaseCommerceTellers lists the events, the most important first.
var coinbaseCommerceTellers = []Teller{
	{Event: "charge:confirmed", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}},
	{Event: "charge:resolved", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}},
	{Event: "charge:failed", Facts: []schemas.Type{schemas.PaymentFailed, schemas.PaymentExpired, schemas.PaymentCancelled, schemas.PaymentActionRequired}},
	{Event: "charge:delayed", Facts: []schemas.Type{schemas.PaymentActionRequired}},
	{Event: "charge:pending", Facts: []schemas.Type{schemas.PaymentProcessing}},
}

// coinbaseCommerceTypes maps an event to the event type.
var coinbaseCommerceTypes = map[string]schemas.Type{
	"charge:pending":   schemas.PaymentProcessing,
	"charge:confirmed": schemas.PaymentCaptured,
	"charge:resolved":  schemas.PaymentCaptured, // the merchant accepted a late or incomplete payment
	"charge:delayed":   schemas.PaymentActionRequired,
	"charge:failed":    schemas.PaymentFailed,
}

// coinbaseCommerceFailureTypes maps the status of the last entry in the timeline of a
// failed charge to the event type.
var coinbaseCommerceFailureTypes = map[text]schemas.Type{
	"EXPIRED":    schemas.PaymentExpired,
	"CANCELED":   schemas.PaymentCancelled,
	"UNRESOLVED": schemas.PaymentActionRequired, // the merchant received a late or incomplete payment, and has to resolve it
}

type coinbaseCommerceEvent struct {
	ID        string `json:"id"`
	Type      text   `json:"type"`
	CreatedAt text   `json:"created_at"`
	Data      struct {
		ID       text     `json:"id"`
		Code     text     `json:"code"`
		Metadata metadata `json:"metadata"`
		Pricing  struct {
			Local coinbaseCommerceAmount `json:"local"`
		} `json:"pricing"`
		Payments []struct {
			Network text `json:"network"`
			Status  text `json:"status"`
			Value   struct {
				Local coinbaseCommerceAmount `json:"local"`
			} `json:"value"`
		} `json:"payments"`
		Timeline []struct {
			Status  text `json:"status"`
			Context text `json:"context"`
		} `json:"timeline"`
	} `json:"data"`
}

type coinbaseCommerceAmount struct {
	Amount   text   `json:"amount"`
	Currency string `json:"currency"`
}

func coinbaseCommerceNormalize(payload []byte, o Options) ([]fact, error) {
	var delivery struct {
		Event part `json:"event"`
	}
	if err := decode(payload, &delivery); err != nil {
		return nil, err
	}
	var n struct {
		Type text `json:"type"`
	}
	if err := redecode(delivery.Event, &n); err != nil {
		return nil, err
	}
	event := string(n.Type)
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no event.type: not an event of Coinbase Commerce's", ErrMalformed)
	case event == "charge:created":
		return []fact{ignored(event, "the charge is open and nobody has paid")}, nil
	case coinbaseCommerceTypes[event] == "":
		return []fact{notUnified(event)}, nil
	}
	var e coinbaseCommerceEvent
	err := redecode(delivery.Event, &e)
	if err == nil && e.ID == "" {
		err = fmt.Errorf("%w: no event.id", ErrMalformed)
	}
	var f fact
	if err == nil {
		f, err = e.fact(event, o)
	}
	return oneFact(event, f, err)
}

// paid returns the sum of the confirmed payments and whether there are any. The sum is
// nil if a payment has no value in a currency of ISO 4217, or if they have several
// currencies. The values are converted from coins and can have more decimals than the
// currency. The excess decimals are cut off, so that the sum is never more than what
// was paid.
func (e coinbaseCommerceEvent) paid() (sum *schemas.Amount, confirmed bool, err error) {
	comparable := true
	for _, p := range e.Data.Payments {
		if !strings.EqualFold(string(p.Status), "CONFIRMED") && p.Status != "" {
			continue
		}
		confirmed = true
		worth := p.Value.Local
		if whole, fraction, _ := strings.Cut(string(worth.Amount), "."); fraction != "" {
			decimals, _ := schemas.Exponent(worth.Currency)
			worth.Amount = text(strings.TrimSuffix(whole+"."+fraction[:min(len(fraction), decimals)], "."))
		}
		a, err := worth.read()
		switch {
		case err != nil:
			return nil, true, err
		case a == nil || sum != nil && sum.Currency != a.Currency:
			comparable = false
		case sum == nil:
			sum = a
		case sum.Value > math.MaxInt64-a.Value:
			return nil, true, fmt.Errorf("%w: the sum of event.data.payments is too large", ErrMalformed)
		default:
			sum.Value += a.Value
		}
	}
	if !comparable {
		return nil, confirmed, nil
	}
	return sum, confirmed, nil
}

// read returns an amount, or nil for an amount in coins.
func (a coinbaseCommerceAmount) read() (*schemas.Amount, error) {
	if _, iso := schemas.Exponent(a.Currency); !iso {
		return nil, nil
	}
	return major(a.Amount, a.Currency)
}

// open reports whether the charge is still open, and so not paid, according to its
// timeline, whatever the event's type is.
func (e coinbaseCommerceEvent) open() bool {
	n := len(e.Data.Timeline)
	return n > 0 && slices.Contains([]text{"NEW", "SIGNED", "PENDING"}, e.Data.Timeline[n-1].Status)
}

// fact returns the fact of a charge.
func (e coinbaseCommerceEvent) fact(event string, o Options) (f fact, err error) {
	d := e.Data
	if f.ConnectorTransactionID = first(d.ID, d.Code); f.ConnectorTransactionID == "" {
		return f, fmt.Errorf("%w: no id or code of event.data: the event does not say what it is about", ErrMalformed)
	}
	f.Type, f.Formerly = coinbaseCommerceTypes[event], []string{e.ID}
	_, state, _ := strings.Cut(event, ":")
	f.Identity = f.ConnectorTransactionID + ":" + state
	f.ConnectorEventID, f.ConnectorEventType = e.ID, event
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	if len(d.Payments) > 0 {
		f.PaymentMethod = method("crypto", d.Payments[len(d.Payments)-1].Network)
	}
	if n := len(d.Timeline); n > 0 && f.Type == schemas.PaymentFailed {
		last := d.Timeline[n-1]
		if typ := coinbaseCommerceFailureTypes[last.Status]; typ != "" {
			f.Type = typ
		}
		f.Error = failure(first(last.Context, last.Status), "", "")
	}
	if f.Time, err = timestamp(e.CreatedAt, time.RFC3339); err != nil {
		return f, err
	}
	if f.Type == schemas.PaymentCaptured {
		paid, confirmed, err := e.paid()
		switch {
		case err != nil:
			return f, err
		case confirmed || len(d.Payments) == 0 && !e.open():
			f.Identity = f.ConnectorTransactionID + ":captured"
			f.Amount, f.CapturedAmount = paid, paid
			return f, nil
		}
		f.Type = schemas.PaymentProcessing
	}
	f.Amount, err = d.Pricing.Local.read()
	return f, err
}
