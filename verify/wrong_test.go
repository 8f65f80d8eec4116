package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// wrong has common mistakes in receivers of webhooks, each made from a right receiver, and the
// check of [TestConformance] that must detect it. Two more are tested elsewhere: comparing in
// a time that depends on the secret, by [TestConstantTime], and responding 2xx to a refused
// webhook, in package ingest.
var wrong = []struct {
	name string
	receiver
	connectors func(name string, c Connector) bool // reports whether a receiver of the connector can make the mistake
	check      func(*trial)
	says       string // matches the error of the check
}{
	{"parses before it verifies", wrongParses, every, (*trial).keys, "but the result is not empty"},
	{"ignores age", wrongAge, timestamped, (*trial).time, "accepted until"},
	{"reads only the first signature", wrongFirst, rolling, (*trial).signatures, "refused a genuine request|refused its signatures in another order"},
	{"trusts headers in the query", wrongQueryHeaders, signsInHeaders, (*trial).query, "accepted the signature in the query"},
	{"trusts a body in the query", wrongQueryBody, signsBodyAlone, (*trial).query, "accepted the body in the query"},
	{"verifies the body trimmed", wrongTrimmed, signsBytes, (*trial).body, "accepted one byte more"},
	{"verifies the body after rewriting its JSON", wrongRewritten, signsBytes, (*trial).body, "accepted the same JSON in other bytes|refused a genuine request"},
	{"accepts an empty secret", wrongEmpty, secretive, (*trial).keys, "an empty secret"},
	{"lets the sender choose the algorithm", wrongAlgorithm, namesAlgorithm, (*trial).algorithm, "accepted the algorithm"},
}

func every(string, Connector) bool              { return true }
func timestamped(_ string, c Connector) bool    { return slices.Contains(c.Settings, tolerance) }
func signsInHeaders(_ string, c Connector) bool { return len(c.Headers) > 0 }
func secretive(_ string, c Connector) bool      { return !c.Keyless }

func rolling(name string, _ Connector) bool {
	return slices.Contains([]string{"braintree", "lithic", "mollie", "paddle", "portone", "recurly", "standardwebhooks", "stripe", "svix"}, name)
}

func namesAlgorithm(name string, _ Connector) bool {
	return slices.Contains([]string{"lyra", "payu-emea", "paypal", "truelayer", "trustly", "wallee", "wechatpay"}, name)
}

// signsBodyAlone reports whether the URL is not signed: moving the body into the query does
// not change the signed text.
func signsBodyAlone(name string, c Connector) bool {
	return c.Covers != CoversNothing && name != "square"
}

// signsBytes reports whether the exact bytes of the body are signed, not fields of a form.
func signsBytes(name string, c Connector) bool {
	return c.Covers == CoversBody && !slices.Contains([]string{"billplz", "braintree", "liqpay", "lyra"}, name)
}

// TestWrongReceivers checks that the checks of [TestConformance], which every connector passes,
// detect every mistake, for whichever connector it is made.
func TestWrongReceivers(t *testing.T) {
	good := slices.DeleteFunc(vectors(t), func(v vector) bool { return v.want != nil || v.handshake() })
	for _, w := range wrong {
		t.Run(w.name, func(t *testing.T) {
			caught, planted := map[string]bool{}, 0
			for name, c := range connectors {
				if w.connectors(name, c) {
					planted++
					caught[name] = false
				}
			}
			for _, v := range good {
				if done, of := caught[v.connector]; !of || done {
					continue
				}
				v.receiver = w.receiver
				caught[v.connector] = slices.ContainsFunc(conformance(v, w.check), regexp.MustCompile(w.says).MatchString)
			}
			for _, name := range slices.Sorted(maps.Keys(caught)) {
				if !caught[name] {
					t.Errorf("for %s it was not detected: no check returned %q", name, w.says)
				}
			}
			t.Logf("detected for %d connectors", planted)
		})
	}
}

func wrongParses(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	v, err := Verify(connector, r, k, now)
	if err != nil {
		v.Payload = r.Body
	}
	return v, err
}

func wrongAge(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	k.Settings = maps.Clone(k.Settings)
	k.Settings[tolerance.Name] = "off"
	return Verify(connector, r, k, now)
}

func wrongFirst(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	first := func(text string) string {
		if at := digits.FindStringIndex(text); at != nil {
			return text[:at[1]]
		}
		return text
	}
	r.Header = r.Header.Clone()
	for _, name := range connectors[connector].Headers {
		if value := r.Header.Get(name); value != "" {
			r.Header.Set(name, first(value))
		}
	}
	if form, err := url.ParseQuery(string(r.Body)); err == nil && form.Has("bt_signature") {
		form.Set("bt_signature", first(form.Get("bt_signature")))
		r.Body = []byte(form.Encode())
	}
	return Verify(connector, r, k, now)
}

func wrongQueryHeaders(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	address, query, _ := strings.Cut(r.URL, "?")
	form, _ := url.ParseQuery(query)
	r.Header = r.Header.Clone()
	for _, name := range connectors[connector].Headers {
		if value := form.Get(name); value != "" && r.Header.Get(name) == "" {
			r.Header.Set(name, value)
			r.URL = address + keep(form, "data.id")
		}
	}
	return Verify(connector, r, k, now)
}

// keep returns a query with only one of its fields, or nothing.
func keep(form url.Values, name string) string {
	if !form.Has(name) {
		return ""
	}
	return "?" + url.Values{name: form[name]}.Encode()
}

func wrongQueryBody(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	if _, query, ok := strings.Cut(r.URL, "?"); ok && len(r.Body) == 0 {
		r.Body = []byte(query)
	}
	return Verify(connector, r, k, now)
}

func wrongTrimmed(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	if v, err := Verify(connector, r, k, now); err == nil {
		return v, nil
	}
	r.Body = bytes.TrimSpace(r.Body)
	return Verify(connector, r, k, now)
}

func wrongRewritten(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	var compact bytes.Buffer
	if json.Compact(&compact, r.Body) == nil {
		r.Body = compact.Bytes()
	}
	return Verify(connector, r, k, now)
}

func wrongEmpty(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	c := connectors[connector]
	v, err := Verified{}, error(ErrMismatch)
	for _, s := range append(k.Secrets, Secret{}) {
		if v, err = c.verify(r, s.Value, k, now); err == nil {
			v.Secret = s.Name
			return v, nil
		}
	}
	return Verified{}, err
}

func wrongAlgorithm(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	none := func(text string) bool { return strings.Contains(strings.ToLower(text), "none") }
	chosen := none(string(r.Body))
	for _, name := range connectors[connector].Headers {
		value := r.Header.Get(name)
		head, _, _ := strings.Cut(value, ".")
		b, err := base64.RawURLEncoding.DecodeString(head)
		chosen = chosen || none(value) || err == nil && none(string(b))
	}
	if chosen && r.Method == http.MethodPost {
		return Verified{Payload: r.Body}, nil
	}
	return Verify(connector, r, k, now)
}
