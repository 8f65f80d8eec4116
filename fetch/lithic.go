package fetch

// lithic is asked only for its list of events and its event subscriptions: webhooks have
// everything. Lithic allows 30 requests a second for one resource.
//
// https://docs.lithic.com/docs/rate-limits
var lithic = Connector{
	Docs:      "https://docs.lithic.com/reference/getevents",
	Keys:      "the program's API key",
	Hosts:     map[Environment]string{Live: "api.lithic.com", Sandbox: "sandbox.lithic.com"},
	Rate:      15,
	authorize: authorization(""),
}
