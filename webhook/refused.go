package webhook

import (
	"net/http"
	"net/netip"
	"time"
)

// Refused is a request to an endpoint that was answered with an error before anything was
// published: it is not verified, or its body could not be read.
type Refused struct {
	Connector  string      `json:"connector"`
	Endpoint   string      `json:"endpoint"` // its name
	ReceivedAt time.Time   `json:"received_at"`
	From       netip.Addr  `json:"from"`
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Query      string      `json:"query,omitempty"`
	Header     http.Header `json:"header"`
	Body       []byte      `json:"-"` // nil if it was not read
	Status     int         `json:"status"`
	Reason     string      `json:"reason"` // the word of the log and the metrics
	Error      string      `json:"error"`
}

// ID returns connector/name of the endpoint, as [Endpoint.ID] does.
func (r Refused) ID() string { return r.Connector + "/" + r.Endpoint }
