package fetch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/schemas"
)

// wallee fetches the transaction or the refund of a webhook. Each request has a JSON Web
// Token of its own, which the application user's key signs and which holds for this
// request alone, so the clock must be right.
//
// wallee signs the webhooks of all its customers with the same keys, so the answer must be
// of the endpoint's space, if that is set.
//
// wallee publishes no rate limit.
//
// https://github.com/wallee-payment/typescript-sdk, src/auth/HttpBearerAuth.ts
// https://github.com/wallee-payment/python-sdk, wallee/service/transactions_service.py
var wallee = Connector{
	Docs:      "https://app-wallee.com/en-us/doc/api/web-service",
	Lost:      "events have no amount and no merchant's id, and refunds do not name their payment",
	Must:      true,
	Keys:      "the authentication key of an application user that may only read transactions and refunds in the space",
	ClientID:  "the id of the application user",
	Hosts:     map[Environment]string{Live: "app-wallee.com", Sandbox: "app-wallee.com"},
	plan:      walleePlan,
	then:      walleeThen,
	authorize: walleeAuthorize,
	check:     checkIDAnd("linkedSpaceId", "spaceId"),
}

func walleePlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	id, space := e.text("entityId"), e.text("spaceId")
	if !decimalID.MatchString(id) || !decimalID.MatchString(space) {
		return nil, nil
	}
	switch e.text("listenerEntityTechnicalName") {
	case "Transaction":
		return []Request{walleeRequest("transaction/"+id, "/payment/transactions/"+segment(id), space)}, nil
	case "Refund":
		r := walleeRequest("refund/"+id, "/payment/refunds/"+segment(id), space)
		r.Query = url.Values{"expand": {"transaction"}}
		return []Request{r}, nil
	}
	return nil, nil
}

func walleeRequest(name, path, space string) Request {
	return Request{Name: name, Path: "/api/v2.0" + path, Header: http.Header{"Space": {space}}}
}

// walleeThen asks for the transaction of a refund that has only its id.
func walleeThen(_ Webhook, _ API, answers []schemas.Fetched) ([]Request, error) {
	if len(answers) != 1 || answers[0].Status != http.StatusOK || !strings.HasPrefix(answers[0].Name, "refund/") {
		return nil, nil
	}
	var d object
	if err := decode(answers[0].Body, &d); err != nil {
		return nil, err
	}
	id, space := d.text("transaction.id"), d.text("linkedSpaceId")
	if d.text("transaction.currency") != "" || !decimalID.MatchString(id) || !decimalID.MatchString(space) {
		return nil, nil
	}
	return []Request{walleeRequest("transaction/"+id, "/payment/transactions/"+segment(id), space)}, nil
}

func walleeAuthorize(r *http.Request, a API, key Key, now time.Time) error {
	secret, err := base64.StdEncoding.DecodeString(key.Value)
	if err != nil || !decimalID.MatchString(a.ClientID) {
		return fmt.Errorf("%w: want a key in base64, and the number of the application user", ErrCredentials)
	}
	header := []byte(`{"alg":"HS256","typ":"JWT","ver":1}`)
	claims, err := json.Marshal(struct {
		Subject string `json:"sub"`
		Issued  int64  `json:"iat"`
		Path    string `json:"requestPath"`
		Method  string `json:"requestMethod"`
	}{a.ClientID, now.Unix(), r.URL.RequestURI(), r.Method})
	if err != nil {
		return err
	}
	encoding := base64.RawURLEncoding
	signed := encoding.EncodeToString(header) + "." + encoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	r.Header.Set("Authorization", "Bearer "+signed+"."+encoding.EncodeToString(mac.Sum(nil)))
	return nil
}
