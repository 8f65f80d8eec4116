package verify

// svix is for any sender that uses Svix: Standard Webhooks with headers that begin with Svix
// or, if the sender chose unbranded webhooks, with Webhook.
//
// https://docs.svix.com/receiving/verifying-payloads/how-manual
var svix = Connector{
	Docs:     "https://docs.svix.com/receiving/verifying-payloads/how-manual",
	Signs:    `HMAC-SHA256 of "<id>.<time>.<body>", base64, in svix-signature or webhook-signature (v1,)`,
	Covers:   CoversBody,
	Headers:  svixScheme.headers(),
	Settings: []Setting{tolerance},
	check:    checkStandardKey,
	verify:   svixScheme.verify,
}

var svixScheme = standard{prefixes: []string{"Svix", "Webhook"}}
