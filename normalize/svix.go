package normalize

// svix archives webhooks that Svix delivers for other senders. The payload is
// JSON of the sender's own design. Each sender chooses its own event names and
// fields, so no event can be made of them: the webhook is verified and
// archived.
//
// https://docs.svix.com/event-types
var svix = Connector{
	Docs:      "https://docs.svix.com/event-types",
	Key:       "none: the payload is the sender's own",
	normalize: generic,
}
