package verify

// lithic signs as Standard Webhooks says. Its requests for a decision on an
// authorization (x-lithic-hmac) are questions, no webhooks, and refused.
//
// https://docs.lithic.com/docs/events-api
var lithic = Connector{
	Docs:     "https://docs.lithic.com/docs/events-api",
	Signs:    `HMAC-SHA256 of "<id>.<time>.<body>", base64, in webhook-signature (v1,)`,
	Covers:   CoversBody,
	Headers:  lithicScheme.headers(),
	Settings: []Setting{tolerance},
	check:    checkStandardKey,
	verify:   lithicScheme.verify,
}

var lithicScheme = standard{prefixes: []string{"Webhook"}}
