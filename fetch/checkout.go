package fetch

// checkout is asked only for what its lists and its webhook endpoints have: webhooks have
// everything. Checkout.com publishes no rate limit.
//
// https://api-reference.checkout.com/
var checkout = Connector{
	Docs:     "https://api-reference.checkout.com/",
	Keys:     "a secret API key (sk_…)",
	HostHint: "abcd1234.api.checkout.com, with the prefix of your account",
}
