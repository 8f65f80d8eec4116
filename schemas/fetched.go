package schemas

import "time"

// Fetched is one answer of a processor's API that was fetched for a webhook. It is
// archived with the webhook, so that a replay reads the same answer and needs no
// network.
type Fetched struct {
	// Name is KIND/ID, such as payment/tr_7UhSN1zuXS. The fetch part of the connector
	// chooses it, and its normaliser finds the document by it.
	Name   string    `json:"name"`
	Host   string    `json:"host"`
	Path   string    `json:"path"` // without the query
	Status int       `json:"status"`
	At     time.Time `json:"at"` // when the answer was complete
	Body   []byte    `json:"-"`
}

// StatusUnknown is the [Fetched.Status] of an object that the API does not know. A
// processor that says so in another way than by 404 gets this status, too.
const StatusUnknown = 404
