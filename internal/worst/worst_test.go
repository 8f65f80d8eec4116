// Package worst tests how much work a body can make.
package worst

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// The limits on the CPU of one body.
const (
	bodySize = 1 << 20
	limit    = 200 * time.Millisecond // of verifying and normalising: a sender chooses the body
)

// shapes are bodies that make a reader work, of about bodySize bytes. A shape
// has what each connector's own reader wants to see around it: head is a
// connector's own fields, as the members of a JSON object.
var shapes = map[string]func(head string) string{
	"many names":         func(head string) string { return object(head, repeat(`"f%d":1`)) },
	"many names of text": func(head string) string { return object(head, repeat(`"f%06d":"xxxxxxxx"`)) },
	"many escaped names": func(head string) string { return object(head, repeat(`"\u0066%06d":1`)) },
	"one long text":      func(head string) string { return object(head, `"x":"`+strings.Repeat("x", bodySize)+`"`) },
	"one escaped text":   func(head string) string { return object(head, `"x":"`+strings.Repeat(`\u00e9`, bodySize/6)+`"`) },
	"one long number":    func(head string) string { return object(head, `"amount":`+strings.Repeat("9", bodySize)) },
	"one long decimal":   func(head string) string { return object(head, `"amount":"0.`+strings.Repeat("9", bodySize)+`"`) },
	"a large exponent": func(head string) string {
		return object(head, `"amount":1e1000000000,"x":"`+strings.Repeat("x", bodySize)+`"`)
	},
	"many small objects": func(head string) string { return object(head, `"x":[`+strings.Repeat("{},", bodySize/3)+`{}]`) },
	"many items":         func(head string) string { return object(head, `"data":[`+repeat(`{"id":"%d"}`)+`]`) },
	"many items of Adyen": func(string) string {
		return `{"live":"true","notificationItems":[` + repeat(`{"NotificationRequestItem":{"pspReference":"%d","additionalData":{"hmacSignature":"AAAA"}}}`) + `]}`
	},
	"many events of GoCardless": func(string) string {
		return `{"events":[` + repeat(`{"id":"EV%d","resource_type":"payments","action":"confirmed","links":{"payment":"PM1"},"created_at":"2026-01-01T00:00:00Z"}`) + `]}`
	},
	"deep": func(head string) string {
		return object(head, `"data":`+strings.Repeat(`{"a":`, 9000)+`1`+strings.Repeat(`}`, 9000)+`,"x":"`+strings.Repeat("x", bodySize-60000)+`"`)
	},
	"deep arrays": func(string) string { return strings.Repeat("[", bodySize) },
	"deep data": func(head string) string {
		return object(head, `"params":{"signature":"AAAA","data":`+strings.Repeat("[", bodySize/2)+strings.Repeat("]", bodySize/2)+`}`)
	},
	"wide and deep": func(head string) string {
		return object(head, `"params":{"signature":"AAAA","data":`+strings.Repeat(`{"a":`, 7)+`{`+repeat(`"f%d":1`)+`}`+strings.Repeat(`}`, 7)+`}`)
	},
	"names twice": func(head string) string {
		return object(head, strings.TrimSuffix(strings.Repeat(`"a":1,`, bodySize/6), ","))
	},
	"white space":   func(head string) string { return object(head, strings.Repeat(" ", bodySize)+`"a":1`) },
	"many times":    func(head string) string { return object(head, `"x":[`+repeat(`"2026-01-01T00:00:00.%dZ"`)+`]`) },
	"form of names": func(string) string { return forms(`f%d=x`) },
	"form of Shp":   func(string) string { return "OutSum=1&InvId=1&SignatureValue=00&" + forms(`Shp_%d=xxxxxxxx`) },
	"form of text":  func(string) string { return "hash=00&x_signature=00&checksum=00&" + forms(`p%d=XXXXXXXXXXXX`) },
	"form escaped":  func(string) string { return "hash=00&x_signature=00&" + forms(`%%70%d=%%41%%42`) },
	"form twice":    func(string) string { return strings.Repeat("a=1&", bodySize/4) },
	"form of one":   func(string) string { return "bt_signature=a|b&bt_payload=" + strings.Repeat("A", bodySize) },
	"form of lines": func(string) string { return "bt_signature=" + strings.Repeat("a|b%26", bodySize/6) + "&bt_payload=A" },
	"separators":    func(string) string { return "hash=00&transaction=" + strings.Repeat("|", bodySize) },
	"data of LiqPay": func(string) string {
		return url.Values{"data": {base64.StdEncoding.EncodeToString([]byte(shapesOf(bodySize / 2)))}, "signature": {"AAAA"}}.Encode()
	},
	"xml siblings":   func(string) string { return "<a>" + strings.Repeat("<b/>", bodySize/4) + "</a>" },
	"xml deep":       func(string) string { return strings.Repeat("<a>", bodySize/3) },
	"xml attributes": func(string) string { return "<a " + repeatBy(` a%d="x"`, "") + "></a>" },
	"xml text":       func(string) string { return "<a>" + strings.Repeat("&lt;", bodySize/4) + "</a>" },
	"paths of Wompi": func(string) string {
		return `{"event":"transaction.updated","timestamp":1767262535,"data":{"transaction":{"id":"1","status":"A","amount_in_cents":1,` + sized(bodySize/2, `"f%d":1`, ",") +
			`}},"signature":{"checksum":"00","properties":["transaction.id","transaction.status","transaction.amount_in_cents",` + sized(bodySize/2, `"transaction.f%d"`, ",") + `]}}`
	},
	"deep paths of Wompi": func(string) string {
		return `{"event":"transaction.updated","timestamp":1767262535,"data":{"transaction":` + strings.Repeat(`{"a":`, 5000) + `{` + sized(bodySize/2, `"f%d":1`, ",") + `}` + strings.Repeat(`}`, 5000) +
			`},"signature":{"checksum":"00","properties":["transaction` + strings.Repeat(".a", 5000) + `"]}}`
	},
	"bytes that are no text": func(string) string { return strings.Repeat("\xff\xfe", bodySize/2) },
	"nothing but quotes":     func(string) string { return strings.Repeat(`"`, bodySize) },
	"nothing but backslash":  func(string) string { return `"` + strings.Repeat(`\`, bodySize) },
}

func object(head, more string) string {
	if head != "" {
		head += ","
	}
	return "{" + head + more + "}"
}

func shapesOf(size int) string { return "{" + sized(size, `"f%d":1`, ",") + "}" }

func repeat(format string) string            { return sized(bodySize, format, ",") }
func forms(format string) string             { return sized(bodySize, format, "&") }
func repeatBy(format, between string) string { return sized(bodySize, format, between) }

// sized repeats what a format makes of 0, 1, 2 … up to a size.
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

// head is a sample's members but those that are large: what a reader of the
// connector goes on for.
func head(sample []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(sample, &fields) != nil {
		return ""
	}
	var all []string
	for name, raw := range fields {
		if name != "x" && name != "data" && name != "params" && name != "amount" {
			all = append(all, strconv.Quote(name)+":"+string(raw))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// cpu returns the CPU time that f takes of this process, garbage collection
// left out.
func cpu(f func()) time.Duration {
	runtime.GC()
	old := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(old)
	before := used()
	f()
	return used() - before
}

func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestWorstBodies: no body of a MiB makes verification and normalisation work
// for longer than the limit, whether its signature is right or not.
func TestWorstBodies(t *testing.T) {
	now := time.Date(2026, 1, 1, 10, 15, 35, 0, time.UTC)
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range shapes {
			if !yield(name) {
				return
			}
		}
	})
	if only := os.Getenv("ONLY"); only != "" {
		names = []string{only}
	}
	type slow struct {
		took time.Duration
		what string
	}
	var slowest []slow
	for _, connector := range verify.Connectors() {
		keys, private, _ := sign.Dev(connector)
		address := "https://pay.example.com/webhooks/" + connector
		e := webhook.Endpoint{Connector: connector, Keys: keys, URL: address}
		sample, err := samples.Payload(connector, samples.Names(connector)[0])
		if err != nil {
			t.Fatal(err)
		}
		good, err := sign.Request(connector, sample, private, keys.Settings, address, now)
		if err != nil {
			t.Fatal(err)
		}
		json := strings.HasPrefix(string(good.Body), "{")
		for _, name := range names {
			if form := strings.HasPrefix(name, "form") || strings.HasPrefix(name, "data of") || name == "separators"; form == json && !(json && form && connector == "fiuu-molpay") {
				continue // the reader gives up at the first byte
			}
			body := []byte(shapes[name](head(sample)))
			r := good // with the signature of another body, where that is in the headers
			r.Body = body
			took := cpu(func() { _, _ = verify.Verify(connector, r, keys, now) })
			took += cpu(func() { _, _ = e.Normalize(body, now) })
			slowest = append(slowest, slow{took, connector + ": " + name})
			if took > limit {
				t.Errorf("%s: %s: %s of CPU for %d bytes, want at most %s", connector, name, took, len(body), limit)
			}
		}
	}
	slices.SortFunc(slowest, func(a, b slow) int { return int(b.took - a.took) })
	for _, s := range slowest[:min(25, len(slowest))] {
		t.Logf("%s %s", s.took, s.what)
	}
}
