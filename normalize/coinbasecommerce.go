package normalize

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// coinbaseCommerce: one event a webhook, {"id", "attempt_number", "event":
// {"id", "type", "data"}}, the data being the charge. The outer id and what
// stands beside it change with every attempt; the event's id does not.
//
// The price of the charge, which charges without a price have not, is what was
// asked for. What was paid stands beside each transfer, in coins and in the
// charge's currency: it can be less, more, or in parts, and it alone is the amount
// of what is captured.
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

var coinbaseCommerceFailureTypes = map[text]schemas.Type{
	"EXPIRED":    schemas.PaymentExpired,
	"CANCELED":   schemas.PaymentCancelled,
	"UNRESOLVED": schemas.PaymentActionRequired, // too little came, or too late: the merchant has it, and must resolve it
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

func coinbaseCommerceNormalize(payload []byte, o Options) ([]Fact, error) {
	var delivery struct {
		Event jsontext.Value `json:"event"`
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
		return []Fact{ignored(event, "the charge is open and nobody has paid")}, nil
	case coinbaseCommerceTypes[event] == "":
		return []Fact{notUnified(event)}, nil
	}
	var e coinbaseCommerceEvent
	err := redecode(delivery.Event, &e)
	if err == nil && e.ID == "" {
		err = fmt.Errorf("%w: no event.id", ErrMalformed)
	}
	var f Fact
	if err == nil {
		f, err = e.fact(event, o)
	}
	return oneFact(event, f, err)
}

// paid is the sum of the transfers that are confirmed, and whether there are
// any. It is nil where their worth is not told in a currency, or in several. It is
// converted from coins and can have more decimals than the currency: those are
// cut, so that no more is told than came.
func (e coinbaseCommerceEvent) paid() (sum *schemas.Amount, confirmed bool, err error) {
	told := true
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
			told = false
		case sum == nil:
			sum = a
		case sum.Value > math.MaxInt64-a.Value:
			return nil, true, fmt.Errorf("%w: the sum of event.data.payments is too large", ErrMalformed)
		default:
			sum.Value += a.Value
		}
	}
	if !told {
		return nil, confirmed, nil
	}
	return sum, confirmed, nil
}

// read is an amount of a currency; an amount in coins is none.
func (a coinbaseCommerceAmount) read() (*schemas.Amount, error) {
	if _, iso := schemas.Exponent(a.Currency); !iso {
		return nil, nil
	}
	return major(a.Amount, a.Currency)
}

// waits reports whether the last that happened to the charge leaves it open, so
// that it is not paid whatever the event is called.
func (e coinbaseCommerceEvent) waits() bool {
	n := len(e.Data.Timeline)
	return n > 0 && slices.Contains([]text{"NEW", "SIGNED", "PENDING"}, e.Data.Timeline[n-1].Status)
}

func (e coinbaseCommerceEvent) fact(event string, o Options) (f Fact, err error) {
	d := e.Data
	if f.ConnectorTransactionID = first(d.ID, d.Code); f.ConnectorTransactionID == "" {
		return f, fmt.Errorf("%w: no id or code of event.data: it is not told what the event is about", ErrMalformed)
	}
	f.Type, f.Identity = coinbaseCommerceTypes[event], e.ID
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
		case confirmed || len(d.Payments) == 0 && !e.waits():
			f.Amount, f.CapturedAmount = paid, paid
			return f, nil
		}
		f.Type = schemas.PaymentProcessing
	}
	f.Amount, err = d.Pricing.Local.read()
	return f, err
}
