package verify

import "time"

// paddle signs "<unix seconds>:<body>" with the notification destination's
// secret, whose text is the HMAC's key, and sends Paddle-Signature: ts=<unix
// seconds>;h1=<hex>, with one h1 for each active secret during a rotation.
// Every delivery has a new timestamp, so Paddle's libraries accept an age of
// five seconds. They accept a timestamp in the future, because only Paddle
// can have signed it.
//
// https://developer.paddle.com/webhooks/signature-verification
var paddle = Connector{
	Docs:     "https://developer.paddle.com/webhooks/signature-verification",
	Signs:    `HMAC-SHA256 of "<time>:<body>", hex, in Paddle-Signature (ts=, h1=)`,
	Covers:   CoversBody,
	Headers:  []string{"Paddle-Signature"},
	Settings: []Setting{tolerance},
	verify:   timed{header: "Paddle-Signature", between: ";", time: "ts", signature: "h1", joint: ":", tolerance: 5 * time.Second}.verify,
}
