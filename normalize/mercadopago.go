package normalize

import "fmt"

// mercadopago reads a notification, {"type", "action", "data": {"id"}}, that a resource
// has changed. Mercado Pago does not sign the body, so nothing in it is used for an
// event: the resource must be fetched, by the id in the query. The archive keeps the
// whole webhook, with its query.
//
// https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/webhooks
var mercadopago = Connector{
	Docs:      "https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/webhooks",
	Key:       "none: the merchant's external_reference must be fetched",
	normalize: mercadopagoNormalize,
}

func mercadopagoNormalize(payload []byte, _ Options) ([]fact, error) {
	var n struct {
		Type   text `json:"type"`
		Topic  text `json:"topic"`
		Action text `json:"action"`
	}
	if err := decode(payload, &n); err != nil {
		return []fact{ignored("", "the body is neither signed nor readable: fetch the resource by the id in the query")}, nil
	}
	event := first(n.Type, n.Topic, n.Action)
	return []fact{ignored(event, fmt.Sprintf("the body, which says %q, is not signed: fetch the resource by the id in the query", event))}, nil
}
