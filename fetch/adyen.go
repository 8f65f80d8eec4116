package fetch

import (
	"net/http"
	"regexp"
	"time"
)

// adyen is asked only for its webhook endpoints: no API of Adyen reads a payment. The
// endpoints belong to a company account or to a merchant account, which the client id
// names as the paths of the API do. Adyen publishes no rate limit.
//
// https://docs.adyen.com/api-explorer/Management/3/overview
var adyen = Connector{
	Docs:         "https://docs.adyen.com/api-explorer/Management/3/overview",
	Keys:         "an API key of the Management API with the role Management API—Webhooks read",
	ClientID:     "the account that the webhook belongs to: companies/NAME or merchants/NAME",
	ClientIDForm: regexp.MustCompile(`^(companies|merchants)/[A-Za-z0-9_.-]{1,100}$`),
	Hosts:        map[Environment]string{Live: "management-live.adyen.com", Sandbox: "management-test.adyen.com"},
	authorize:    adyenAuthorize,
}

func adyenAuthorize(r *http.Request, _ API, key Key, _ time.Time) error {
	r.Header.Set("X-API-Key", key.Value)
	return nil
}
