package verify

// portone uses the scheme of Standard Webhooks for all webhooks of its V2 API. During a
// rotation it sends a signature for each secret.
//
// https://developers.portone.io/opi/ko/integration/webhook/readme-v2?v=v2
var portone = Connector{
	Docs:     "https://developers.portone.io/opi/ko/integration/webhook/readme-v2?v=v2",
	Signs:    `HMAC-SHA256 of "<id>.<time>.<body>", base64, in webhook-signature (v1,)`,
	Covers:   CoversBody,
	Headers:  portoneScheme.headers(),
	Settings: []Setting{tolerance},
	check:    checkStandardKey,
	verify:   portoneScheme.verify,
}

var portoneScheme = standard{prefixes: []string{"Webhook"}}
