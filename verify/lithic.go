package verify

// lithic uses the scheme of Standard Webhooks. Its requests for a decision on an
// authorization (with x-lithic-hmac) are not webhooks and are refused.
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
