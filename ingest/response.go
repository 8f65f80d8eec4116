package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// responsePolicy describes how to respond to one processor. The zero value suits most
// processors: 200 without a body once the webhook is in Kafka, 401 if it is not
// verified, within [DefaultDeadline].
type responsePolicy struct {
	body       string        // of the 2xx response, which ends redelivery
	reply      reply         // makes the body, if it depends on the payload
	done       int           // status of the 2xx response; 0 means 200
	rejected   int           // status if the webhook is not verified; 0 means 401
	rejectBody string        // body if the webhook is not verified; empty means failure
	failure    string        // body of every other refusal; empty means the status text
	handshake  bool          // the processor sends a GET to check that the endpoint is the merchant's
	query      bool          // the processor's webhook is a GET, and its query is the body
	deadline   time.Duration // 0 means the server's deadline
}

// reply returns the body of a response, made from the endpoint's settings and the
// verified payload.
type reply func(settings map[string]string, payload []byte) string

// policies holds the policies that differ from the zero value, by connector. A
// response that must be signed comes from package verify.
var policies = map[string]responsePolicy{
	// Adyen's older webhooks wanted this body; its newer ones take any.
	// https://docs.adyen.com/development-resources/webhooks/handle-webhook-events
	"adyen": {body: "[accepted]"},
	// When the destination is saved, Braintree sends GET ?bt_challenge=...
	// https://developer.paypal.com/braintree/docs/guides/webhooks/parse
	"braintree": {handshake: true},
	// https://docs.epay.dk/integration/payment-window/accept-callback-parameters/
	"epay-bambora": {query: true},
	// A callback is redelivered until it gets this body; for other notifications any body
	// will do. https://docs.fiuu.dev/docs/payment-status-notification
	"fiuu-molpay": {body: "CBTOKEN:MPSTATOK"},
	// https://developer.gocardless.com/api-reference/#webhooks-overview
	"gocardless": {done: http.StatusNoContent, rejected: statusTokenInvalid},
	// https://fliphtml5.com/hmseu/oxni
	"ipay88": {body: "RECEIVEOK"},
	// https://docs.multisafepay.com/docs/webhook
	"multisafepay": {body: "OK"},
	// Without this answer Opayo cancels the payment.
	// https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction
	"opayo-server": {reply: func(settings map[string]string, form []byte) string {
		fields, _ := url.ParseQuery(string(form)) // no error: the form was verified
		to := strings.ReplaceAll(settings["redirect_url"], "{VendorTxCode}", url.QueryEscape(fields.Get("VendorTxCode")))
		return "Status=OK\r\nRedirectURL=" + to + "\r\n"
	}},
	// The body is OK<InvId>. https://docs.robokassa.ru/ru/notifications-and-redirects
	"robokassa": {reply: func(_ map[string]string, form []byte) string {
		fields, _ := url.ParseQuery(string(form)) // no error: the form was verified
		return "OK" + fields.Get("InvId")
	}},
	// When an endpoint is saved, Worldline sends GET with
	// X-GCS-Webhooks-Endpoint-Verification.
	// https://docs.connect.worldline-solutions.com/documentation/webhooks/
	"worldline-connect": {handshake: true},
	// https://pay.weixin.qq.com/doc/v3/merchant/4012075420
	"wechatpay": {failure: `{"code":"FAIL","message":"send it again"}`},
	// A 4xx is final, and may refund the payment; after a 5xx the webhook is redelivered.
	// The webhook that asks whether a user exists gets the same answer as all others:
	// yes. https://developers.xsolla.com/webhooks/overview/#section/Errors
	"xsolla": {
		done:       http.StatusNoContent,
		rejected:   http.StatusBadRequest,
		rejectBody: `{"error":{"code":"INVALID_SIGNATURE","message":"Invalid signature"}}`,
	},
}

// statusTokenInvalid is GoCardless' own status for a wrong signature.
const statusTokenInvalid = 498

// Response is the HTTP response to a webhook.
type Response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body"`
}

// Reasons for refusals by this package itself.
var (
	errEndpoint = errors.New("no such endpoint")
	errMethod   = errors.New("method not allowed")
	errTooLarge = errors.New("body too large")
	errEncoding = errors.New("content encoding not accepted")
	errRead     = errors.New("body could not be read")
	errSlow     = errors.New("the body was not received before the deadline")
	errBusy     = errors.New("too many bytes or webhooks are in flight")
	errShare    = errors.New("this address has used its share of what may be in flight")
	errPanic    = errors.New("panic")
	errReceipts = errors.New("the publisher did not return a receipt for each record")
)

// refusals maps errors to responses. The first matching row is used; its word is the
// reason in logs and metrics.
var refusals = []struct {
	is     error
	word   string
	status int
}{
	{errEndpoint, "no_such_endpoint", http.StatusNotFound},
	{errMethod, "method_not_allowed", http.StatusMethodNotAllowed},
	{errTooLarge, "body_too_large", http.StatusRequestEntityTooLarge},
	{errEncoding, "content_encoding", http.StatusUnsupportedMediaType},
	{errRead, "body_unreadable", http.StatusBadRequest},
	{errSlow, "body_too_slow", http.StatusServiceUnavailable},
	{errBusy, "too_much_under_way", http.StatusServiceUnavailable},
	{errShare, "share_of_address_used", http.StatusServiceUnavailable},
	{errPanic, "panic", http.StatusServiceUnavailable},

	// The endpoint's keys are wrong or cannot be fetched: the sender must send the
	// webhook again.
	{verify.ErrNoSecret, string(verify.ErrNoSecret), http.StatusServiceUnavailable},
	{verify.ErrSetting, string(verify.ErrSetting), http.StatusServiceUnavailable},
	{verify.ErrKeyNotThere, string(verify.ErrKeyNotThere), http.StatusServiceUnavailable},

	// The processor's API gives no usable answer: the webhook is genuine, as far as we
	// know, and must come again.
	{fetch.ErrUnknownObject, "object_not_visible", http.StatusServiceUnavailable},
	{fetch.ErrCredentials, "api_credentials", http.StatusServiceUnavailable},
	{fetch.ErrLimited, "api_limited", http.StatusServiceUnavailable},
	{fetch.ErrUnavailable, "api_unavailable", http.StatusServiceUnavailable},

	{kafka.ErrRefused, "kafka_refuses", http.StatusServiceUnavailable},
	{kafka.ErrUnavailable, "kafka_unavailable", http.StatusServiceUnavailable},
	{kafka.ErrClosed, "shutting_down", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "deadline", http.StatusServiceUnavailable},
}

// endpointErrors returns an error for each reason to refuse a request to an endpoint
// that exists.
func endpointErrors() []error {
	errs := []error{errInternal}
	for _, r := range refusals {
		if r.is != errEndpoint {
			errs = append(errs, r.is)
		}
	}
	for _, reason := range verify.Reasons() {
		if reason != verify.ErrUnknown {
			errs = append(errs, reason)
		}
	}
	return errs
}

// errInternal stands for every error that has no row in [refusals].
var errInternal = errors.New("internal error")

// refusal returns the response to an error, and the word for the error.
func (p responsePolicy) refusal(err error) (Response, string) {
	status, word, body := p.refuse(err)
	r := statusResponse(status)
	if limited := (*fetch.LimitedError)(nil); errors.As(err, &limited) {
		r.Headers["Retry-After"] = strconv.Itoa(int(math.Ceil(limited.RetryAfter.Seconds())))
	}
	if body != "" {
		r.Body, r.Headers["Content-Type"] = body, contentType(body)
	}
	return r, word
}

func (p responsePolicy) refuse(err error) (status int, word, body string) {
	for _, r := range refusals {
		if errors.Is(err, r.is) {
			return r.status, r.word, p.failure
		}
	}
	if reason := verify.ReasonOf(err); reason != "" {
		return cmp.Or(p.rejected, http.StatusUnauthorized), string(reason), cmp.Or(p.rejectBody, p.failure)
	}
	return http.StatusServiceUnavailable, "internal", p.failure
}

// contentType returns the media type of a body: JSON if it is an object, else text.
func contentType(body string) string {
	if strings.HasPrefix(body, "{") {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// retryAfter is the number of seconds after which a processor should send the
// webhook again, if it honours Retry-After.
const retryAfter = "5"

// statusResponse returns a response whose body is the text of its status.
func statusResponse(status int) Response {
	r := Response{Status: status, Headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"}, Body: http.StatusText(status) + "\n"}
	switch status {
	case http.StatusServiceUnavailable:
		r.Headers["Retry-After"] = retryAfter
	case http.StatusMethodNotAllowed:
		r.Headers["Allow"] = http.MethodPost
	}
	return r
}

// responseTo returns the response to a verdict, given that Kafka acknowledged all
// records of the webhook.
func responseTo(e *webhook.Endpoint, v webhook.Verdict) Response {
	p := policies[e.Connector]
	switch {
	case v.Err != nil:
		r, _ := p.refusal(v.Err)
		return r
	case v.Handshake:
		return Response{Status: http.StatusOK, Headers: map[string]string{"Content-Type": contentType(string(v.Reply))}, Body: string(v.Reply)}
	}
	r := Response{Status: cmp.Or(p.done, http.StatusOK), Body: cmp.Or(string(v.Reply), p.body)}
	if p.reply != nil {
		r.Body = p.reply(e.Keys.Settings, v.Payload)
	}
	if r.Body != "" {
		r.Headers = map[string]string{"Content-Type": contentType(r.Body)}
	}
	return r
}

// ResponseProfile describes the responses to one processor.
type ResponseProfile struct {
	Description string        // of the responses, in one line
	Done        int           // the status that ends redelivery
	Rejected    int           // the status if the webhook is not verified
	Query       bool          // the processor's webhook is a GET
	Deadline    time.Duration // from the request's headers to the response
}

// ResponseProfileOf returns how the server responds to a connector's processor.
func ResponseProfileOf(connector string) ResponseProfile {
	p := policies[connector]
	c, _ := verify.Lookup(connector)
	profile := ResponseProfile{
		Done: cmp.Or(p.done, http.StatusOK), Rejected: cmp.Or(p.rejected, http.StatusUnauthorized),
		Query: p.query, Deadline: max(p.deadline, DefaultDeadline),
	}
	text := strconv.Itoa(profile.Done)
	switch {
	case p.reply != nil || c.Replies:
		text += ", its body made from the verified payload"
	case p.body != "":
		text += " with the body " + p.body
	}
	if p.rejected != 0 {
		text += "; not verified: " + strconv.Itoa(p.rejected)
	}
	if p.handshake {
		text += "; its handshake is answered"
	}
	if p.query {
		text += "; its webhook is a GET"
	}
	profile.Description = text
	return profile
}

// ReceiptHeader is the header of a 2xx response that says where in Kafka the
// webhook's records are. It is a list as in RFC 9651, with one member for each
// record: an event's id, or "webhook" for the archived webhook:
//
//	Tollbridge-Receipt: "0b0f…";topic="payment.captured";partition=3;offset=42
const ReceiptHeader = "Tollbridge-Receipt"

// maxReceipts bounds the header, in bytes: processors and proxies drop responses
// with large headers. The log has all receipts.
const maxReceipts = 4 << 10

// receiptHeader returns the value of [ReceiptHeader].
func receiptHeader(entries []entry) string {
	b := make([]byte, 0, 512) // on the stack
	for i := range entries {
		if len(b) > maxReceipts {
			b = fmt.Appendf(b, `, "more";n=%d`, len(entries)-i)
			break
		}
		if i > 0 {
			b = append(b, ", "...)
		}
		e := &entries[i]
		b = append(append(append(b, '"'), e.id...), `";topic="`...)
		b = append(append(b, e.receipt.Topic...), `";partition=`...)
		b = append(strconv.AppendInt(b, int64(e.receipt.Partition), 10), ";offset="...)
		b = strconv.AppendInt(b, e.receipt.Offset, 10)
	}
	return string(b)
}
