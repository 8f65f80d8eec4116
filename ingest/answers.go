package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/verify"
)

// dialect is how one processor wants to be answered where that is not as most
// do: exactly 200 with no body once it is in Kafka, 401 if it is not verified,
// within [DefaultDeadline].
type dialect struct {
	body       string        // of the answer that ends redelivery
	reply      reply         // the same, where it depends on what was verified
	done       int           // the status of that answer; 0 is 200
	unverified int           // the status of a refusal to believe; 0 is 401
	disbelief  string        // the body of that refusal; empty is failure
	failure    string        // the body of every refusal; empty says its status
	handshake  bool          // asks by GET whether the endpoint is the merchant's
	query      bool          // its webhook is a GET: the query stands for the body
	deadline   time.Duration // 0 is the server's
}

// reply makes the body of an answer from an endpoint's settings and what was
// verified.
type reply func(settings map[string]string, payload []byte) string

// dialects holds the processors that want something else, by connector. An
// answer that has to be signed comes from verify.
var dialects = map[string]dialect{
	// Adyen's older webhooks wanted this body; its newer ones take any.
	// https://docs.adyen.com/development-resources/webhooks/handle-webhook-events
	"adyen": {body: "[accepted]"},
	// GET ?bt_challenge=... when the destination is saved.
	// https://developer.paypal.com/braintree/docs/guides/webhooks/parse
	"braintree": {handshake: true},
	// https://docs.epay.dk/integration/payment-window/accept-callback-parameters/
	"epay-bambora": {query: true},
	// The callback is sent until it gets this; the other notifications do not mind.
	// https://docs.fiuu.dev/docs/payment-status-notification
	"fiuu-molpay": {body: "CBTOKEN:MPSTATOK"},
	// https://developer.gocardless.com/api-reference/#webhooks-overview
	"gocardless": {done: http.StatusNoContent, unverified: statusTokenInvalid},
	// https://fliphtml5.com/hmseu/oxni
	"ipay88": {body: "RECEIVEOK"},
	// https://docs.multisafepay.com/docs/webhook
	"multisafepay": {body: "OK"},
	// Without this answer Opayo cancels the payment.
	// https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction
	"opayo-server": {reply: func(settings map[string]string, form []byte) string {
		fields, _ := url.ParseQuery(string(form)) // verified, so it is one
		to := strings.ReplaceAll(settings["redirect_url"], "{VendorTxCode}", url.QueryEscape(fields.Get("VendorTxCode")))
		return "Status=OK\r\nRedirectURL=" + to + "\r\n"
	}},
	// OK<InvId>. https://docs.robokassa.ru/ru/notifications-and-redirects
	"robokassa": {reply: func(_ map[string]string, form []byte) string {
		fields, _ := url.ParseQuery(string(form)) // verified, so it is one
		return "OK" + fields.Get("InvId")
	}},
	// GET with X-GCS-Webhooks-Endpoint-Verification when an endpoint is saved.
	// https://docs.connect.worldline-solutions.com/documentation/webhooks/
	"worldline-connect": {handshake: true},
	// https://pay.weixin.qq.com/doc/v3/merchant/4012075420
	"wechatpay": {failure: `{"code":"FAIL","message":"send it again"}`},
	// A 4xx is final, and may refund the payment; a 5xx is sent again. The
	// question whether a user exists is answered as all else: yes.
	// https://developers.xsolla.com/webhooks/overview/#section/Errors
	"xsolla": {
		done:       http.StatusNoContent,
		unverified: http.StatusBadRequest,
		disbelief:  `{"error":{"code":"INVALID_SIGNATURE","message":"Invalid signature"}}`,
	},
}

// statusTokenInvalid is nobody's standard.
const statusTokenInvalid = 498

// Answer is what the sender of a request gets.
type Answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body"`
}

// Reasons of refusals that come from no stage but ingest itself.
var (
	errEndpoint = errors.New("no such endpoint")
	errMethod   = errors.New("method not allowed")
	errTooLarge = errors.New("body too large")
	errEncoding = errors.New("content encoding not accepted")
	errRead     = errors.New("body could not be read")
	errSlow     = errors.New("the body did not come before the deadline")
	errBusy     = errors.New("too much is under way")
	errShare    = errors.New("this address has its share of what may be under way")
	errPanic    = errors.New("panic")
	errReceipts = errors.New("the publisher gave no receipt for some records")
)

// refusals is the one map from an error to an answer. The first that matches
// counts; the word is what logs and metrics say.
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

	// What is wrong with our keys, or out of our reach, is no fault of the
	// sender's: it sends again.
	{verify.ErrNoSecret, string(verify.ErrNoSecret), http.StatusServiceUnavailable},
	{verify.ErrSetting, string(verify.ErrSetting), http.StatusServiceUnavailable},
	{verify.ErrKeyNotThere, string(verify.ErrKeyNotThere), http.StatusServiceUnavailable},

	{kafka.ErrRefused, "kafka_refuses", http.StatusServiceUnavailable},
	{kafka.ErrUnavailable, "kafka_unavailable", http.StatusServiceUnavailable},
	{kafka.ErrClosed, "shutting_down", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "deadline", http.StatusServiceUnavailable},
}

// refusal returns the answer to an error and the word for it.
func (d dialect) refusal(err error) (Answer, string) {
	status, word, body := d.refuse(err)
	a := plain(status)
	if body != "" {
		a.Body, a.Headers["Content-Type"] = body, contentType(body)
	}
	return a, word
}

func (d dialect) refuse(err error) (status int, word, body string) {
	for _, r := range refusals {
		if errors.Is(err, r.is) {
			return r.status, r.word, d.failure
		}
	}
	if reason := verify.ReasonOf(err); reason != "" {
		return cmp.Or(d.unverified, http.StatusUnauthorized), string(reason), cmp.Or(d.disbelief, d.failure)
	}
	return http.StatusServiceUnavailable, "internal", d.failure
}

// contentType is the media type of a body: JSON, if it is an object, or text.
func contentType(body string) string {
	if strings.HasPrefix(body, "{") {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// retryAfter is when a processor that honours it should try again, in seconds.
const retryAfter = "5"

// plain is an answer that says its status and nothing more.
func plain(status int) Answer {
	a := Answer{Status: status, Headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"}, Body: http.StatusText(status) + "\n"}
	switch status {
	case http.StatusServiceUnavailable:
		a.Headers["Retry-After"] = retryAfter
	case http.StatusMethodNotAllowed:
		a.Headers["Allow"] = http.MethodPost
	}
	return a
}

// Answer is what the processor gets, given that Kafka has what it is to have.
func (e Endpoint) Answer(j Judgement) Answer {
	d := dialects[e.Connector]
	switch {
	case j.Err != nil:
		a, _ := d.refusal(j.Err)
		return a
	case j.Handshake:
		return Answer{Status: http.StatusOK, Headers: map[string]string{"Content-Type": contentType(string(j.Reply))}, Body: string(j.Reply)}
	}
	a := Answer{Status: cmp.Or(d.done, http.StatusOK), Body: cmp.Or(string(j.Reply), d.body)}
	if d.reply != nil {
		a.Body = d.reply(e.Keys.Settings, j.Payload)
	}
	if a.Body != "" {
		a.Headers = map[string]string{"Content-Type": contentType(a.Body)}
	}
	return a
}

// Manners is how a processor is answered.
type Manners struct {
	Done      int    // the status that ends redelivery
	Body      string // of that answer, if it is always the same
	Made      bool   // or it is made from what was verified
	Refused   int    // the status of a request that is not verified
	Handshake bool   // asks whether the endpoint is the merchant's
	Query     bool   // its webhook is a GET
	Deadline  time.Duration
}

// MannersOf returns how a connector's processor is answered.
func MannersOf(connector string) Manners {
	d := dialects[connector]
	c, _ := verify.Lookup(connector)
	return Manners{
		Done: cmp.Or(d.done, http.StatusOK), Body: d.body, Made: d.reply != nil || c.Replies,
		Refused: cmp.Or(d.unverified, http.StatusUnauthorized), Handshake: d.handshake, Query: d.query,
		Deadline: max(d.deadline, DefaultDeadline),
	}
}

// Says is the manners in a line.
func (m Manners) Says() string {
	says := strconv.Itoa(m.Done)
	switch {
	case m.Made:
		says += ", its body made of what was verified"
	case m.Body != "":
		says += " with the body " + m.Body
	}
	if m.Refused != http.StatusUnauthorized {
		says += "; not verified: " + strconv.Itoa(m.Refused)
	}
	if m.Handshake {
		says += "; its handshake is answered"
	}
	if m.Query {
		says += "; its webhook is a GET"
	}
	return says
}

// ReceiptHeader names the header of a 2xx that says where in Kafka the
// webhook's records are: a list of RFC 9651, one member a record, an event's id
// or "webhook" for a webhook kept whole:
//
//	Tollbridge-Receipt: "0b0f…";topic="payment.captured";partition=3;offset=42
const ReceiptHeader = "Tollbridge-Receipt"

// receiptBytes bounds the header: processors and proxies drop answers whose
// headers are too large. The log has all receipts.
const receiptBytes = 4 << 10

// receipts returns the value of [ReceiptHeader].
func receipts(ids []string, at []kafka.Receipt) string {
	var b strings.Builder
	for i, r := range at {
		if b.Len() > receiptBytes {
			fmt.Fprintf(&b, `, "more";n=%d`, len(at)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `"%s";topic="%s";partition=%d;offset=%d`, ids[i], r.Topic, r.Partition, r.Offset)
	}
	return b.String()
}
