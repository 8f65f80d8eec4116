package fetch

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// mercadopago fetches the object that a notification names: a payment with its refunds, an
// order, or a merchant order and then its payments. Only data.id of the query is signed.
// The kind of the object is not: somebody with a captured notification can ask for another
// object of the same number. That does no harm, because the answer of the API is what
// becomes events, and it is read with the merchant's own access token. The setting
// collector_id also compares the account.
//
// A notification of the older form, IPN, is not signed, and has the topic and the id in its
// query. The API's answer is what vouches for it.
//
// The notification of a chargeback names its payment in the body. Its own object is not
// read: Mercado Pago documents no fields of it.
//
// Mercado Pago publishes no rate limit.
//
// https://www.mercadopago.com.br/developers/en/reference/payments/_payments_id/get
// https://www.mercadopago.com.br/developers/en/reference/merchant_orders/_merchant_orders_id/get
// https://github.com/mercadopago/sdk-go pkg/order/response.go
var mercadopago = Connector{
	Docs:  "https://www.mercadopago.com.br/developers/en/reference/payments/_payments_id/get",
	Lost:  "no event at all: a notification only names what changed",
	Must:  true,
	Keys:  "the access token of the application (APP_USR-… or TEST-…)",
	Hosts: map[Environment]string{Live: "api.mercadopago.com", Sandbox: "api.mercadopago.com"},
	plan:  mercadopagoPlan,
	then:  mercadopagoThen,
	check: mercadopagoCheck,
}

var (
	mercadopagoNumber  = regexp.MustCompile(`^[0-9]{1,20}$`)
	mercadopagoOrderID = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
)

func mercadopagoPlan(w Webhook, _ API) ([]Request, error) {
	var n struct {
		Type  text `json:"type"`
		Topic text `json:"topic"`
		Data  struct {
			PaymentID text `json:"payment_id"`
		} `json:"data"`
	}
	_ = decode(w.Payload, &n) // the body is not signed, and may have any form
	topic := cmp.Or(string(n.Type), string(n.Topic), w.Query.Get("type"), w.Query.Get("topic"))
	id := w.Query.Get("data.id") // the signed one
	if w.Unsigned {
		topic, id = w.Query.Get("topic"), w.Query.Get("id")
	}
	switch topic {
	case "payment":
		return mercadopagoRequest("payment", "/v1/payments/", id, mercadopagoNumber), nil
	case "order":
		return mercadopagoRequest("order", "/v1/orders/", id, mercadopagoOrderID), nil
	case "merchant_order", "topic_merchant_order_wh":
		return mercadopagoRequest("merchant_order", "/merchant_orders/", id, mercadopagoNumber), nil
	case "topic_chargebacks_wh", "chargebacks": // of IPN it does not name the payment
		return mercadopagoRequest("payment", "/v1/payments/", string(n.Data.PaymentID), mercadopagoNumber), nil
	}
	return nil, nil
}

// mercadopagoRequest returns the request for an object, or none if the id has not the form
// of its kind.
func mercadopagoRequest(kind, path, id string, form *regexp.Regexp) []Request {
	if !form.MatchString(id) {
		return nil
	}
	return []Request{{Name: kind + "/" + id, Path: path + segment(id), Query: url.Values{}}}
}

// mercadopagoThen asks for the payments of a merchant order: only they have the refunds.
func mercadopagoThen(_ Webhook, _ API, answers []schemas.Fetched) ([]Request, error) {
	var all []Request
	for _, a := range answers {
		if !strings.HasPrefix(a.Name, "merchant_order/") || a.Status == schemas.StatusUnknown {
			continue
		}
		var o struct {
			Payments []struct {
				ID text `json:"id"`
			} `json:"payments"`
		}
		if err := decode(a.Body, &o); err != nil {
			return nil, err
		}
		for _, p := range o.Payments {
			all = append(all, mercadopagoRequest("payment", "/v1/payments/", string(p.ID), mercadopagoNumber)...)
		}
	}
	return all[max(0, len(all)-(maxRequests-1)):], nil // the newest: each also has a notification of its own
}

func mercadopagoCheck(w Webhook, _ API, f schemas.Fetched) error {
	var d struct {
		ID          text `json:"id"`
		CollectorID text `json:"collector_id"`
		UserID      text `json:"user_id"`
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	kind, id, _ := strings.Cut(f.Name, "/")
	if string(d.ID) != id {
		return fmt.Errorf("%w: the answer is for the id %q", ErrAccount, string(d.ID))
	}
	account := d.CollectorID
	if kind == "order" {
		account = d.UserID
	}
	if want, got := w.Settings["collector_id"], string(account); want != "" && got != want && kind != "merchant_order" {
		return fmt.Errorf("%w: it is of the account %q, and the setting collector_id is %q", ErrAccount, got, want)
	}
	return nil
}
