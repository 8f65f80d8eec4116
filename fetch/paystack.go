package fetch

// paystack is asked only for its list of transactions: webhooks have everything. Paystack
// publishes no rate limit.
//
// https://paystack.com/docs/api/transaction/#list
var paystack = Connector{
	Docs:  "https://paystack.com/docs/api/transaction/#list",
	Keys:  "the secret key (sk_live_… or sk_test_…); Paystack has no read-only ones",
	Hosts: map[Environment]string{Live: "api.paystack.co", Sandbox: "api.paystack.co"},
}
