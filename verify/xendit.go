package verify

// xendit sends the account's webhook verification token in x-callback-token.
// Nothing is signed: anyone who captured one webhook can forge any other. The id in the
// header webhook-id is not signed either.
//
// https://docs.xendit.co/apidocs/payment-webhook-notification
var xendit = Connector{
	Docs:     "https://docs.xendit.co/apidocs/payment-webhook-notification",
	Signs:    "nothing is signed; x-callback-token has the verification token itself",
	Covers:   CoversNothing,
	Weakness: "a shared value proves the sender and nothing of what is sent; it can be read from any one webhook",
	Headers:  []string{"x-callback-token"},
	Tokens:   []string{"x-callback-token"},
	verify:   sharedValue("x-callback-token"),
}
