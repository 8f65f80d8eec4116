package verify

import "time"

// paddle signs "<unix seconds>:<body>" with the notification destination's
// secret, text used as it is, and sends Paddle-Signature: ts=<unix
// seconds>;h1=<hex>, one h1 for each live secret while one is being rotated.
// Every attempt is signed anew, so that its libraries let a signature be five
// seconds old; a time in the future they let through, as only Paddle can have
// signed it.
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
