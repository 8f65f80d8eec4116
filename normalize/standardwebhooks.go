package normalize

// standardwebhooks archives the webhooks of any sender that signs them by the
// specification Standard Webhooks. The specification only recommends a payload,
// {"type", "timestamp", "data"}. Each sender chooses its own event names and
// fields, so no event can be made of them: the webhook is verified and
// archived.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
var standardwebhooks = Connector{
	Docs:      "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure",
	Key:       "none: the payload is the sender's own",
	normalize: generic,
}
