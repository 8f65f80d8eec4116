package verify

// standardwebhooks is for any sender that follows Standard Webhooks: it signs
// "<id>.<time>.<body>" with the endpoint's secret, base64 after whsec_. Signatures of the
// specification's other scheme, public keys (v1a), are ignored: it does not use secrets.
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
