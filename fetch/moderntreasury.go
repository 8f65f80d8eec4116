package fetch

// modernTreasury is asked only for its list of events and its webhook endpoints: a webhook has
// its object as it was, and the return of a payment order is in the order. No documented
// request makes Modern Treasury send a webhook again.
//
// Modern Treasury publishes no rate limit. A sandbox has keys of its own on the same host.
//
// https://docs.moderntreasury.com/platform/reference/getting-started
var modernTreasury = Connector{
	Docs:      "https://docs.moderntreasury.com/platform/reference/getting-started",
	Keys:      "a read-only API key",
	ClientID:  "the organization id",
	Hosts:     map[Environment]string{Live: "app.moderntreasury.com", Sandbox: "app.moderntreasury.com"},
	authorize: basicPair,
}
