package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// mercadopago signs "id:<data.id>;request-id:<x-request-id>;ts:<ts>;" with the
// application's secret signature and sends x-signature: ts=<time>,v1=<hex>.
// The id comes from the query. If the id or x-request-id is missing, its part is left out of
// the signed text. The id is signed as sent or, as documented, in lower case. The timestamp
// is in milliseconds or in seconds.
//
// Nothing of the body is signed. The signature proves only that something happened to the
// id in the query. A proxy that replaces x-request-id breaks every signature. Mercado Pago
// documents no maximum age, so a request is refused for its age only if the endpoint sets a
// tolerance.
//
// The older notifications, IPN, have the topic and the id in the query, and no data.id. Some
// have an x-signature, which cannot be verified: Mercado Pago does not say what it signs. They
// are refused unless the endpoint has an API, which knows whether the id is one of the
// merchant's payments.
//
// https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/webhooks
// https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/ipn
var mercadopago = Connector{
	Docs:     "https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/webhooks",
	Signs:    `HMAC-SHA256 of "id:<data.id of the query>;request-id:<x-request-id>;ts:<ts>;", hex, in x-signature (ts=, v1=); IPN (topic and id in the query) is not signed, and refused unless api is configured`,
	Covers:   CoversNothing,
	Weakness: "the body is not signed: anyone who captured one webhook can send any other body with it; any age is accepted unless tolerance_seconds is set",
	Headers:  []string{"X-Signature", "X-Request-Id"},
	Settings: []Setting{tolerance},
	verify:   mercadopagoVerify,
	unsigned: mercadopagoUnsigned,
}

// mercadopagoUnsigned reads a notification of the older form, IPN: its query has one topic
// and one id, and no data.id.
func mercadopagoUnsigned(r Request) ([]byte, bool) {
	address, err := url.Parse(r.URL)
	if err != nil {
		return nil, false
	}
	q, err := url.ParseQuery(address.RawQuery)
	one := func(name string) bool { return len(q[name]) == 1 && q.Get(name) != "" }
	return r.Body, err == nil && one("topic") && one("id") && len(q["data.id"]) == 0
}

func mercadopagoVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	header, err := r.header("X-Signature")
	if err != nil {
		return Verified{}, err
	}
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if pairs[name] != "" {
			return Verified{}, fmt.Errorf("%w: x-signature has two %s", ErrMalformed, name)
		}
		pairs[name] = value
	}
	signature, err := hex.DecodeString(pairs["v1"])
	sent, wrong := strconv.ParseInt(pairs["ts"], 10, 64)
	if err != nil || wrong != nil || len(signature) == 0 {
		return Verified{}, fmt.Errorf("%w: x-signature: want ts=<time>,v1=<hex>", ErrMalformed)
	}
	id, request, err := mercadopagoSigned(r)
	if err != nil {
		return Verified{}, err
	}
	matches := func(id string) bool {
		return hmac.Equal(signature, sum(sha256.New, []byte(secret), []byte(id+request+"ts:"+pairs["ts"]+";")))
	}
	if !matches(id) && !matches(strings.ToLower(id)) {
		return Verified{}, ErrMismatch
	}
	const milliseconds = 1e11 // as seconds it is the year 5138
	if sent < milliseconds {
		sent *= 1000
	}
	return Verified{Payload: r.Body}, k.within(time.UnixMilli(sent), now, anyAge)
}

// mercadopagoSigned returns the signed text before the timestamp: the parts for the id in the
// query and for x-request-id. A part is empty if its value is missing.
func mercadopagoSigned(r Request) (id, request string, err error) {
	address, err := url.Parse(r.URL)
	if r.URL == "" || err != nil {
		return "", "", fmt.Errorf("%w: the URL that is set at Mercado Pago is not configured: the id in its query is signed", ErrSetting)
	}
	query, err := url.ParseQuery(address.RawQuery)
	if err != nil || len(query["data.id"]) > 1 {
		return "", "", fmt.Errorf("%w: the query cannot be read, or has several data.id", ErrMalformed)
	}
	if id = query.Get("data.id"); id != "" {
		id = "id:" + id + ";"
	}
	if r.Header.Get("X-Request-Id") != "" {
		if request, err = r.header("X-Request-Id"); err != nil {
			return "", "", err
		}
		request = "request-id:" + request + ";"
	}
	if strings.Count(id, ";") > 1 || strings.Count(request, ";") > 1 {
		return "", "", fmt.Errorf("%w: data.id or x-request-id has a \";\", which separates the signed values", ErrMalformed)
	}
	return id, request, nil
}
