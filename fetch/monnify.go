package fetch

import (
	"strconv"
	"time"
)

// monnify is asked only for its list of transactions: webhooks have everything. The access
// token comes from a login with the API key and the secret key. Its answer is Monnify's own
// and holds for about an hour.
//
// Monnify publishes no rate limit.
//
// https://developers.monnify.com/api/#authentication
var monnify = Connector{
	Docs:     "https://developers.monnify.com/api/",
	Keys:     "the secret key: Developer, API Keys & Contracts; Monnify has no read-only ones",
	ClientID: "the API key (MK_PROD_… or MK_TEST_…)",
	Hosts:    map[Environment]string{Live: "api.monnify.com", Sandbox: "sandbox.monnify.com"},
	token: func(a API, key Key) Token {
		return Token{Path: "/api/v1/auth/login", ClientID: a.ClientID, ClientSecret: key.Value, Read: monnifyToken}
	},
}

func monnifyToken(answer object) (token string, lifetime time.Duration) {
	seconds, _ := strconv.Atoi(answer.text("responseBody.expiresIn"))
	return answer.text("responseBody.accessToken"), time.Duration(seconds) * time.Second
}
