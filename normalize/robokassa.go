package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// robokassa normalises Robokassa's notifications: a form about one payment that
// succeeded. Robokassa sends none about other payments. OutSum is in the
// currency of the shop, which the form does not name: it is the ruble, or the
// currency in the setting.
//
// The merchant's reference is one of the merchant's own fields (Shp_order_id),
// else InvId, the merchant's invoice number. These fields and OutSum are
// signed. IsTest is not signed; it is used only where it says that the payment
// is a test.
//
// https://docs.robokassa.ru/ru/notifications-and-redirects
var robokassa = Connector{
	Docs:      "https://docs.robokassa.ru/ru/notifications-and-redirects",
	Key:       "Shp_<merchant_id_keys>, else InvId",
	Settings:  []Setting{robokassaCurrency},
	Tellers:   sentToURL(robokassaTellers),
	Captures:  CountsOnce, // an invoice (InvId) is paid once
	normalize: robokassaNormalize,
}

// robokassaTellers lists the event types.
var robokassaTellers = []Teller{
	{Event: "ResultURL", Facts: []schemas.Type{schemas.PaymentCaptured}},
}

// robokassaCurrency is the setting with the currency of the shop.
var robokassaCurrency = Setting{Name: "currency", Description: "the shop's currency, as ISO 4217 code; RUB if it is not set"}

func robokassaNormalize(payload []byte, o Options) ([]fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	if p["InvId"] == "" || p["OutSum"] == "" {
		return nil, fmt.Errorf("%w: no InvId or no OutSum: not a notification of Robokassa's", ErrMalformed)
	}
	var f fact
	f.Type, f.Identity = schemas.PaymentCaptured, p["InvId"]+"/"+p["OutSum"]
	f.ConnectorEventType, f.ConnectorTransactionID = "ResultURL", p["InvId"]
	f.MerchantTransactionID = first(robokassaMerchantID(p, o), p["InvId"])
	f.PaymentMethod = method(p["PaymentMethod"], "")
	if f.Amount, err = major(p["OutSum"], first(o.Settings[robokassaCurrency.Name], "RUB")); err != nil {
		return oneMalformed(f.ConnectorEventType, err)
	}
	f.CapturedAmount = f.Amount
	if p["IsTest"] == "1" {
		f.Mode = modeTest
	}
	return []fact{f}, nil
}

// robokassaMerchantID returns the merchant's reference from the merchant's own fields,
// whose names begin with Shp_, or "".
func robokassaMerchantID(p map[string]string, o Options) string {
	for _, key := range o.MerchantIDKeys {
		for _, name := range slices.Sorted(maps.Keys(p)) {
			if prefix, rest := name[:min(len(name), len("Shp_"))], name[min(len(name), len("Shp_")):]; strings.EqualFold(prefix, "Shp_") && rest == key && p[name] != "" {
				return p[name]
			}
		}
	}
	return ""
}
