package normalize

// svix: it delivers what others send, JSON of their own making. Its words and
// fields are each sender's, so that no event can be made of them: the webhook
// is verified and kept.
//
// https://docs.svix.com/event-types
var svix = Connector{
	Docs:      "https://docs.svix.com/event-types",
	Key:       "none: the payload is the sender's own",
	Normalize: generic,
}
