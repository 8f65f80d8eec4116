package verify

// standardwebhooks is whoever signs as Standard Webhooks says:
// "<id>.<time>.<body>" with the endpoint's secret, base64 after whsec_. The
// specification's other scheme, public keys (v1a), is not for endpoints with a
// secret and is passed over.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
var standardwebhooks = Connector{
	Docs:     "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
	Signs:    `HMAC-SHA256 of "<id>.<time>.<body>", base64, in webhook-signature (v1,)`,
	Covers:   CoversBody,
	Headers:  standardwebhooksScheme.headers(),
	Settings: []Setting{tolerance},
	check:    checkStandardKey,
	verify:   standardwebhooksScheme.verify,
}

var standardwebhooksScheme = standard{prefixes: []string{"Webhook"}}
