package webhook

import (
	"context"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// VouchedByGaps says that the webhook never came: `tollbridge gaps` made it from what the
// processor's API lists. The API vouches for it, and there is no signature.
const VouchedByGaps VouchedBy = "gaps"

// JudgeListed normalises a webhook that the processor's API lists and that never came.
// documents are those of its events that the list has. If ask is set and the endpoint has
// an API, what else the webhook only names is fetched.
func (e Endpoint) JudgeListed(ctx context.Context, payload []byte, documents []schemas.Fetched, ask bool, now time.Time) Verdict {
	v := verify.Verified{Payload: payload}
	var err error
	if ask && e.API != nil && len(documents) == 0 {
		client := e.Fetcher
		if client == nil {
			client = &fetcher
		}
		documents, err = client.Fetch(ctx, e.Connector, *e.API, e.fetchable(v, verify.Request{}))
	}
	if ctx.Err() != nil {
		return Verdict{Err: ctx.Err()}
	}
	verdict := e.conclude(v, documents, err, now)
	verdict.Listed = true
	return verdict
}
