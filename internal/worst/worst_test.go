// Package worst tests how much CPU time a hostile body can cost.
package worst

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/race"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// The limits on the CPU time of one body. The sender chooses the body.
const (
	bodySize = 1 << 20
	limit    = 200 * time.Millisecond // to verify and normalise it
)

// kind is the syntax of a body.
type kind string

const (
	inJSON kind = "JSON"
	inForm kind = "form"
	inXML  kind = "XML"
)

func kindOf(body []byte) kind {
	switch {
	case bytes.HasPrefix(body, []byte("{")) || bytes.HasPrefix(body, []byte("[")):
		return inJSON
	case bytes.HasPrefix(body, []byte("<")):
		return inXML
	}
	return inForm
}

// shape is a way to make a body of about bodySize bytes that is expensive to read. It
// is made from a good body, so that a connector's own reader finds the fields that it
// looks for.
type shape struct {
	name string
	kind kind
	body func(good []byte) string
}

// shapes are all shapes of all kinds.
var shapes = []shape{
	member("many names", repeat(`"f%d":1`, ",")),
	member("many names of text", repeat(`"f%06d":"xxxxxxxx"`, ",")),
	member("many escaped names", repeat(`"\u0066%06d":1`, ",")),
	member("one long text", `"x":"`+strings.Repeat("x", bodySize)+`"`),
	member("one escaped text", `"x":"`+strings.Repeat(`\u00e9`, bodySize/6)+`"`),
	member("one long number", `"amount":`+strings.Repeat("9", bodySize)),
	member("one long decimal", `"amount":"0.`+strings.Repeat("9", bodySize)+`"`),
	member("a large exponent", `"amount":1e1000000000,"x":"`+strings.Repeat("x", bodySize)+`"`),
	member("many small objects", `"x":[`+strings.Repeat("{},", bodySize/3)+`{}]`),
	member("many items", `"data":[`+repeat(`{"id":"%d"}`, ",")+`]`),
	member("deep", `"data":`+strings.Repeat(`{"a":`, 9000)+`1`+strings.Repeat(`}`, 9000)+`,"x":"`+strings.Repeat("x", bodySize-60000)+`"`),
	member("deep data", `"params":{"signature":"AAAA","data":`+strings.Repeat("[", bodySize/2)+strings.Repeat("]", bodySize/2)+`}`),
	member("wide and deep", `"params":{"signature":"AAAA","data":`+strings.Repeat(`{"a":`, 7)+`{`+repeat(`"f%d":1`, ",")+`}`+strings.Repeat(`}`, 7)+`}`),
	member("names twice", strings.TrimSuffix(strings.Repeat(`"a":1,`, bodySize/6), ",")),
	member("white space", strings.Repeat(" ", bodySize)+`"a":1`),
	member("many times", `"x":[`+repeat(`"2026-01-01T00:00:00.%dZ"`, ",")+`]`),
	{"long values", inJSON, longValues},
	whole(inJSON, "deep arrays", strings.Repeat("[", bodySize)),
	whole(inJSON, "only quotes", strings.Repeat(`"`, bodySize)),
	whole(inJSON, "only backslashes", `"`+strings.Repeat(`\`, bodySize)),
	whole(inJSON, "bytes that are not UTF-8", strings.Repeat("\xff\xfe", bodySize/2)),
	whole(inJSON, "many items of Adyen", `{"live":"true","notificationItems":[`+
		repeat(`{"NotificationRequestItem":{"pspReference":"%d","additionalData":{"hmacSignature":"AAAA"}}}`, ",")+`]}`),
	whole(inJSON, "many events of GoCardless", `{"events":[`+
		repeat(`{"id":"EV%d","resource_type":"payments","action":"confirmed","links":{"payment":"PM1"},"created_at":"2026-01-01T00:00:00Z"}`, ",")+`]}`),
	whole(inJSON, "paths of Wompi", `{"event":"transaction.updated","timestamp":1767262535,"data":{"transaction":{"id":"1","status":"A","amount_in_cents":1,`+
		sized(bodySize/2, `"f%d":1`, ",")+`}},"signature":{"checksum":"00","properties":["transaction.id","transaction.status","transaction.amount_in_cents",`+
		sized(bodySize/2, `"transaction.f%d"`, ",")+`]}}`),
	whole(inJSON, "deep paths of Wompi", `{"event":"transaction.updated","timestamp":1767262535,"data":{"transaction":`+
		strings.Repeat(`{"a":`, 5000)+`{`+sized(bodySize/2, `"f%d":1`, ",")+`}`+strings.Repeat(`}`, 5000)+
		`},"signature":{"checksum":"00","properties":["transaction`+strings.Repeat(".a", 5000)+`"]}}`),

	field("many names", repeat(`f%d=x`, "&")),
	field("many names of Robokassa", repeat(`Shp_%d=xxxxxxxx`, "&")),
	field("long texts", repeat(`p%d=XXXXXXXXXXXX`, "&")),
	field("escaped names", repeat(`%%70%d=%%41%%42`, "&")),
	field("names twice", strings.Repeat("a=1&", bodySize/4)),
	field("separators", "x="+strings.Repeat("|", bodySize)),
	field("no names", strings.Repeat("&", bodySize)),
	{"long values", inForm, longValues},
	whole(inForm, "one payload of Braintree", "bt_signature=a|b&bt_payload="+strings.Repeat("A", bodySize)),
	whole(inForm, "many signatures of Braintree", "bt_signature="+strings.Repeat("a|b%26", bodySize/6)+"&bt_payload=A"),
	whole(inForm, "JSON of LiqPay", url.Values{"data": {base64.StdEncoding.EncodeToString([]byte("{" + sized(bodySize*5/8, `"f%d":1`, ",") + "}"))}, "signature": {"AAAA"}}.Encode()),
	whole(inForm, "XML of LiqPay", url.Values{"operation_xml": {base64.StdEncoding.EncodeToString([]byte("<response>" + sized(bodySize*5/8, "<f%d/>", "") + "</response>"))}, "signature": {"AAAA"}}.Encode()),

	element("many siblings", strings.Repeat("<b/>", bodySize/4)),
	element("many names", repeat("<f%d>1</f%[1]d>", "")),
	element("deep", strings.Repeat("<b>", bodySize/7)+strings.Repeat("</b>", bodySize/7)),
	element("many attributes", "<b "+repeat(` a%d="x"`, "")+"/>"),
	element("escaped text", "<b>"+strings.Repeat("&lt;", bodySize/4)+"</b>"),
	element("one long text", "<amount>"+strings.Repeat("9", bodySize)+"</amount>"),
	element("many comments", strings.Repeat("<!---->", bodySize/7)),
	element("name spaces", repeat(`<b xmlns:a%d="x"/>`, "")),
	whole(inXML, "never closed", strings.Repeat("<a>", bodySize/3)),
	whole(inXML, "entities", `<!DOCTYPE a [<!ENTITY b "`+strings.Repeat("x", 1000)+`">]><a>`+strings.Repeat("&b;", bodySize/3)+"</a>"),
}

// whole makes a body that does not depend on the good one.
func whole(k kind, name, body string) shape {
	return shape{name, k, func([]byte) string { return body }}
}

// member adds a member to a JSON object, after the small members of the good body.
func member(name, more string) shape {
	return shape{name, inJSON, func(good []byte) string {
		var members map[string]json.RawMessage
		_ = json.Unmarshal(good, &members) // a body that is not an object has no members
		var all []string
		for name, raw := range members {
			if name != "x" && name != "data" && name != "params" && name != "amount" {
				all = append(all, strconv.Quote(name)+":"+string(raw))
			}
		}
		slices.Sort(all)
		return "{" + strings.Join(append(all, more), ",") + "}"
	}}
}

// field adds fields to a form.
func field(name, more string) shape {
	return shape{name, inForm, func(good []byte) string { return string(good) + "&" + more }}
}

// element adds elements to the innermost of the elements that end a good XML body.
func element(name, more string) shape {
	return shape{name, inXML, func(good []byte) string {
		text := strings.TrimSpace(string(good))
		end := regexp.MustCompile(`(\s*</[^>]*>)+$`).FindStringIndex(text)
		if end == nil {
			return "<a>" + more + "</a>"
		}
		return text[:end[0]] + more + text[end[0]:]
	}}
}

// longValues appends digits to every field of a good body. The signed text is then
// nearly as long as the longest that verification tries to split in other ways.
func longValues(good []byte) string {
	if kindOf(good) == inJSON {
		var object map[string]any
		if json.Unmarshal(good, &object) != nil {
			return string(good)
		}
		for name, value := range object {
			if text, ok := value.(string); ok {
				object[name] = text + strings.Repeat("200", 20000/len(object))
			}
		}
		body, _ := json.Marshal(object)
		return string(body)
	}
	form, _ := url.ParseQuery(string(good))
	for name := range form {
		form.Set(name, form.Get(name)+strings.Repeat("200", 20000/len(form)))
	}
	return form.Encode()
}

func repeat(format, between string) string { return sized(bodySize, format, between) }

// sized repeats a format, filled in with 0, 1, 2 …, up to a size.
func sized(size int, format, between string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteString(between)
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// cpu returns the CPU time that f takes, without garbage collection. If that is longer
// than most, it runs f up to three times and returns the shortest time, because other
// work on the machine only ever adds to it.
func cpu(most time.Duration, f func()) time.Duration {
	old := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(old)
	least := time.Duration(math.MaxInt64)
	for range 3 {
		runtime.GC()
		before := used()
		f()
		if least = min(least, used()-before); least <= most {
			break
		}
	}
	return least
}

func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// subject is a connector with the keys, the URL and the good requests from which bodies
// are made.
type subject struct {
	endpoint webhook.Endpoint
	private  string
	payload  []byte         // payload of a sample
	request  verify.Request // as the processor sends the sample
	now      time.Time
}

func newSubject(t *testing.T, connector string) subject {
	t.Helper()
	keys, private, _ := sign.Dev(connector)
	address := "https://pay.example.com/webhooks/" + connector
	s := subject{endpoint: webhook.Endpoint{Connector: connector, Keys: keys, URL: address}, private: private, now: time.Date(2026, 1, 1, 10, 15, 35, 0, time.UTC)}
	var err error
	if s.payload, err = samples.Payload(connector, samples.Names(connector)[0]); err != nil {
		t.Fatal(err)
	}
	if s.request, err = s.sign(s.payload); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s subject) sign(payload []byte) (verify.Request, error) {
	return sign.Request(s.endpoint.Connector, payload, s.private, s.endpoint.Keys.Settings, s.endpoint.URL, s.now)
}

// requests returns the requests that can be sent with a body of a shape: the body with
// the signature of another body and, if verification reads fields of the body or
// unwraps it, the body signed as the processor would sign it.
func (s subject) requests(of shape) (all []verify.Request) {
	if of.kind == kindOf(s.request.Body) {
		r := s.request
		r.Body = []byte(of.body(s.request.Body))
		all = append(all, r)
	}
	c, _ := verify.Lookup(s.endpoint.Connector)
	if reads := c.Covers == verify.CoversFields || kindOf(s.request.Body) != kindOf(s.payload); reads && of.kind == kindOf(s.payload) {
		if r, err := s.sign([]byte(of.body(s.payload))); err == nil {
			all = append(all, r)
		}
	}
	return all
}

// TestWorstBodies: no body of 1 MiB makes verification and normalisation work
// for longer than the limit, whether its signature is right or not.
func TestWorstBodies(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector slows some code down twentyfold, and nothing here is concurrent")
	}
	byTime := map[string]time.Duration{}
	for _, connector := range verify.Connectors() {
		t.Run(connector, func(t *testing.T) {
			s := newSubject(t, connector)
			for _, of := range shapes {
				for i, r := range s.requests(of) {
					within(t, byTime, limit, fmt.Sprintf("%s: %s: %s: verify %d", connector, of.kind, of.name, i), len(r.Body), func() {
						_, _ = verify.Verify(connector, r, s.endpoint.Keys, s.now)
					})
				}
				if of.kind == kindOf(s.payload) {
					payload := []byte(of.body(s.payload))
					within(t, byTime, limit, fmt.Sprintf("%s: %s: %s: normalise", connector, of.kind, of.name), len(payload), func() {
						_, _ = s.endpoint.Normalize(payload, s.now)
					})
				}
			}
		})
	}
	slowest(t, byTime)
}

// within runs f, records its CPU time, and fails the test if that is above a limit.
func within(t *testing.T, byTime map[string]time.Duration, most time.Duration, what string, size int, f func()) {
	t.Helper()
	byTime[what] = cpu(most, f)
	if took := byTime[what]; took > most {
		t.Errorf("%s: %s of CPU for %d bytes, want at most %s", what, took, size, most)
	}
}

// slowest logs the longest CPU times.
func slowest(t *testing.T, byTime map[string]time.Duration) {
	names := slices.SortedFunc(maps.Keys(byTime), func(a, b string) int { return cmp.Compare(byTime[b], byTime[a]) })
	for _, name := range names[:min(20, len(names))] {
		t.Logf("%s %s", byTime[name], name)
	}
}
