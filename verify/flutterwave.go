package verify

// flutterwave sends the webhook's secret hash itself in the header verif-hash.
// Nothing is signed: whoever has seen one webhook can make any other, and so
// what one says should be fetched from Flutterwave before goods leave.
//
// https://developer.flutterwave.com/docs/webhooks
var flutterwave = Connector{
	Docs:     "https://developer.flutterwave.com/docs/webhooks",
	Signs:    "nothing; the secret itself stands in verif-hash",
	Covers:   CoversNothing,
	Weakness: "a shared value proves the sender and nothing of what is sent; it can be read from any one webhook",
	Headers:  []string{"verif-hash"},
	Verify:   sharedValue("verif-hash"),
}
