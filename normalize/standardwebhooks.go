package normalize

// standardwebhooks: the specification says how a webhook is signed, and only
// recommends {"type", "timestamp", "data"} for what stands in it. The words of
// type and the fields of data are each sender's own, so that no event can be
// made of them: the webhook is verified and kept.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
var standardwebhooks = Connector{
	Docs:      "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure",
	Key:       "none: the payload is the sender's own",
	Normalize: generic,
}
