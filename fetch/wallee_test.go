package fetch_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
)

// walleeKey is the authentication key of the application user 512.
var walleeKey = base64.StdEncoding.EncodeToString([]byte("0123456789" + secretText + "0123456789"))

// walleeAPI is the API as in https://github.com/wallee-payment/python-sdk,
// wallee/service/transactions_service.py, refunds_service.py and api_client.py.
var walleeAPI = api{
	config:  fetch.API{Keys: []fetch.Key{{Name: "main", Value: walleeKey}}, ClientID: "512"},
	accepts: func(r *http.Request) error { return errors.Join(walleeToken(r), wants(r, "Space", "405")) },
	answers: map[string]string{
		"GET /api/v2.0/payment/transactions/910071":               `{"id":910071,"linkedSpaceId":405,"state":"FULFILL","currency":"CHF","completedAmount":25.5}`,
		"GET /api/v2.0/payment/refunds/810071?expand=transaction": `{"id":810071,"linkedSpaceId":405,"amount":5.5,"transaction":{"id":910071,"currency":"CHF"}}`,
		"GET /api/v2.0/payment/refunds/810072?expand=transaction": `{"id":810072,"linkedSpaceId":405,"amount":5.5,"transaction":{"id":910071}}`,
	},
	webhooks: []webhookCase{
		{name: "a transaction", payload: `{"eventId":1,"entityId":910071,"listenerEntityTechnicalName":"Transaction","spaceId":405,"state":"FULFILL"}`,
			requests: []string{"GET /api/v2.0/payment/transactions/910071"}, documents: []string{"transaction/910071"}},
		{name: "a refund", payload: `{"eventId":1,"entityId":810071,"listenerEntityTechnicalName":"Refund","spaceId":405,"state":"SUCCESSFUL"}`,
			requests: []string{"GET /api/v2.0/payment/refunds/810071?expand=transaction"}, documents: []string{"refund/810071"}},
		{name: "a refund that only names its transaction", payload: `{"eventId":1,"entityId":810072,"listenerEntityTechnicalName":"Refund","spaceId":405,"state":"SUCCESSFUL"}`,
			requests:  []string{"GET /api/v2.0/payment/refunds/810072?expand=transaction", "GET /api/v2.0/payment/transactions/910071"},
			documents: []string{"refund/810072", "transaction/910071"}},
		{name: "a token", payload: `{"eventId":1,"entityId":5,"listenerEntityTechnicalName":"Token","spaceId":405,"state":"ACTIVE"}`},
		{name: "an id that is no number", payload: `{"eventId":1,"entityId":"../5","listenerEntityTechnicalName":"Transaction","spaceId":405,"state":"FULFILL"}`},
	},
}

// walleeToken verifies the JSON Web Token of a request, as
// https://github.com/wallee-payment/typescript-sdk, src/auth/HttpBearerAuth.ts makes it.
func walleeToken(r *http.Request) error {
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return errors.New("no token")
	}
	secret, _ := base64.StdEncoding.DecodeString(walleeKey)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) != parts[2] {
		return errors.New("wrong signature")
	}
	var header, claims map[string]any
	for i, to := range []*map[string]any{&header, &claims} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(part, to) != nil {
			return errors.New("not a token")
		}
	}
	issued, _ := claims["iat"].(float64)
	if header["alg"] != "HS256" || header["ver"] != 1. || claims["sub"] != "512" || claims["requestMethod"] != r.Method ||
		claims["requestPath"] != r.URL.RequestURI() || time.Since(time.Unix(int64(issued), 0)).Abs() > time.Minute {
		return fmt.Errorf("the token %v %v is not for this request", header, claims)
	}
	return nil
}

// TestWalleeKey: a key that is not base64 is named as the cause.
func TestWalleeKey(t *testing.T) {
	a := walleeAPI.config
	a.Keys = []fetch.Key{{Name: "main", Value: "not base64!"}}
	if _, err := new(fetch.Client).Fetch(t.Context(), "wallee", a, walleeAPI.webhooks[0].webhook()); !errors.Is(err, fetch.ErrCredentials) {
		t.Errorf("%v, want %v", err, fetch.ErrCredentials)
	}
}
