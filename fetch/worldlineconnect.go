package fetch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// worldlineConnect fetches the payment of a dispute for the merchant's reference: a dispute
// has only the id of its payment. A refund does not name its payment in the API either.
//
// Each request is signed with the secret API key, and its time is signed, too, so the clock
// must be right. The host depends on the merchant's region and environment.
//
// Worldline publishes no rate limit.
//
// https://apireference.connect.worldline-solutions.com/s2sapi/v1/en_US/java/payments/get.html
// https://apireference.connect.worldline-solutions.com/fileserviceapi/v1/en_US/go/authentication.html
var worldlineConnect = Connector{
	Docs:      "https://apireference.connect.worldline-solutions.com/s2sapi/v1/en_US/java/payments/get.html",
	Lost:      "disputes have the merchant's reference only if the payment's webhook came before",
	Keys:      "the secret API key: Configuration Center, API Keys; Worldline has no read-only ones",
	ClientID:  "the API key id that belongs to the secret API key",
	HostHint:  "api.connect.worldline-solutions.com, the API endpoint of the merchant's region",
	HostForm:  regexp.MustCompile(`^([a-z0-9-]{1,40}\.){1,3}(worldline-solutions\.com|api-ingenico\.com)$`),
	plan:      worldlineConnectPlan,
	authorize: worldlineConnectAuthorize,
	check:     checkIDAt("id"),
}

func worldlineConnectPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	merchant, payment := e.text("merchantId"), e.text("dispute.paymentId")
	if !strings.HasPrefix(e.text("type"), "dispute.") || !opaqueID.MatchString(merchant) || !opaqueID.MatchString(payment) {
		return nil, nil
	}
	return []Request{{Name: "payment/" + payment, Path: "/v1/" + segment(merchant) + "/payments/" + segment(payment)}}, nil
}

// worldlineConnectAuthorize signs the method, the content type, the date and the path with
// its query, each followed by a line feed.
func worldlineConnectAuthorize(r *http.Request, a API, key Key, now time.Time) error {
	date := now.UTC().Format(http.TimeFormat)
	r.Header.Set("Date", date)
	mac := hmac.New(sha256.New, []byte(key.Value))
	for _, line := range []string{r.Method, r.Header.Get("Content-Type"), date, r.URL.RequestURI()} {
		mac.Write([]byte(line + "\n"))
	}
	r.Header.Set("Authorization", "GCS v1HMAC:"+a.ClientID+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}
