// Package thirdparty_test judges the connectors by third-party vectors, kept
// outside the project: requests that processors or well-known integrators
// signed, and payloads that they sent.
package thirdparty_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// vectors is the folder beside the project's root; it has one a connector.
const vectors = "../../../shared/vectors"

// descriptive is what a vector's config says to people.
var descriptive = []string{
	"scheme", "header", "alg", "encoding", "prefix", "prefix_optional", "case_insensitive", "secret_encoding", "note", "wrapped_by_us",
	"body_form", "expected_response", "expected_plaintext", "tolerance_mode", "require_headers", "key_id_header",
}

// ignored is the word for a payload that no event is made of.
const ignored = "ignored"

// accept is the words of those who collected the payloads that are not ours,
// and what answers them rightly.
var accept = map[string][]string{
	"payment.pending":         {"payment.processing", "payment.action_required"},
	"payment.created":         {ignored, "payment.processing"},
	"payment.updated":         {ignored, "payment.processing"},
	"payment.paid_out":        {ignored, "payment.captured"},
	"payment.disbursed":       {ignored, "payment.captured"},
	"payment.retried":         {ignored, "payment.processing", "payment.failed"},
	"refund.updated":          {ignored, "refund.pending", "refund.succeeded"},
	"dispute.reminder":        {ignored, "dispute.opened"},
	"dispute.action_required": {ignored, "dispute.opened"},
	"dispute.closed":          {ignored, "dispute.cancelled", "dispute.expired"},
	"dispute.inquiry":         {"dispute.opened"},
	"fraud.notification":      {"fraud.reported"},
}

// processorIDs are the processor's own ids that those who collected the payloads took for
// the merchant's reference. Such an id joins the events of a payment; it is not the key.
var processorIDs = map[string]*regexp.Regexp{
	"cashfree": regexp.MustCompile(`^CFPay_`),
	"razorpay": regexp.MustCompile(`^order_`),
}

// corrected are the event types of payloads whose name says less than their content.
var corrected = map[string]string{
	"razorpay/refund_created-normal_refunds.json": "refund.succeeded", // the refund's status is processed
}

// signature is a request, and whether it is what it claims to be.
type signature struct {
	Name       string
	Method     string
	URL        string `json:"url_if_signed"`
	Headers    map[string]string
	Body       string
	BodyBase64 []byte `json:"body_base64"`
	Secret     json.RawMessage
	Config     map[string]json.RawMessage
	Now        *float64
	Expect     string
	Reproduced string
}

// payload is a payload, and what it means.
type payload struct {
	File   string
	Expect map[string]any
}

func TestVectors(t *testing.T) {
	folders, err := os.ReadDir(vectors)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there are no third-party vectors in shared/vectors beside the project's root")
	}
	if err != nil {
		t.Fatal(err)
	}
	judged, without := 0, map[string]int{} // cases, and cases of connectors that are not there
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		dir := filepath.Join(vectors, folder.Name())
		var signatures []signature
		read(t, filepath.Join(dir, "vectors.json"), &signatures)
		tolerant := slices.ContainsFunc(signatures, func(s signature) bool { return s.Config["tolerance_seconds"] != nil })
		for _, s := range signatures {
			connector := s.connector(folder.Name())
			if _, ok := verify.Lookup(connector); !ok {
				without[connector]++
			} else if s.Expect != "valid" || s.Reproduced != "unreproduced" {
				judged++
				t.Run(connector+"/signature/"+s.Name, func(t *testing.T) { s.judge(t, connector, tolerant) })
			}
		}
		var payloads []payload
		read(t, filepath.Join(dir, "payloads", "index.json"), &payloads)
		for _, p := range payloads {
			if _, ok := normalize.Lookup(folder.Name()); !ok {
				without[folder.Name()]++
				continue
			}
			judged++
			t.Run(folder.Name()+"/payload/"+p.File, func(t *testing.T) { p.judge(t, folder.Name(), filepath.Join(dir, "payloads")) })
		}
	}
	t.Logf("%d cases judged; of connectors that are not there: %v", judged, without)
}

// read decodes a file, if it is there. Numbers stay as they are written.
func read(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		err = d.Decode(v)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// connector is whose request it is: Adyen's two schemes are two connectors.
func (s signature) connector(folder string) string {
	if folder == "adyen" && plain(s.Config["scheme"]) == "hmac_body" {
		return "adyen-platform"
	}
	return folder
}

func (s signature) judge(t *testing.T, connector string, tolerant bool) {
	keys := verify.Keys{Secrets: s.secrets(t), Settings: map[string]string{}}
	for name, value := range s.Config {
		if !slices.Contains(descriptive, name) && plain(value) != "" {
			keys.Settings[name] = plain(value)
		}
	}
	// Where the vector says nothing of its age, it is of any.
	if _, ok := s.Config["tolerance_seconds"]; s.Now == nil || tolerant && !ok {
		keys.Settings["tolerance_seconds"] = "off"
	}
	now := time.Now()
	if s.Now != nil {
		now = time.Unix(int64(*s.Now), 0)
	}
	r := verify.Request{Method: s.Method, URL: s.URL, Header: http.Header{}, Body: []byte(s.Body)}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	if len(s.BodyBase64) > 0 {
		r.Body = s.BodyBase64
	}
	for name, value := range s.Headers {
		r.Header.Add(name, value)
	}
	got, err := verify.Verify(connector, r, keys, now)
	want := plain(s.Config["expected_response"])
	switch {
	case s.Expect != "valid" && err == nil:
		t.Error("accepted a forgery")
	case s.Expect == "valid" && err != nil:
		t.Errorf("refused: %v", err)
	case s.Expect == "valid" && want != "" && string(got.Reply) != want:
		t.Errorf("answered with %q, want %q", got.Reply, want)
	}
}

// secrets returns the vector's secret or secrets, those that are not empty.
func (s signature) secrets(t *testing.T) (all []verify.Secret) {
	t.Helper()
	values := []json.RawMessage{s.Secret}
	if len(s.Secret) > 0 && s.Secret[0] == '[' {
		if err := json.Unmarshal(s.Secret, &values); err != nil {
			t.Fatal(err)
		}
	}
	for i, value := range values {
		if text := plain(value); text != "" {
			all = append(all, verify.Secret{Name: fmt.Sprint("secret", i+1), Value: text})
		}
	}
	return all
}

// plain is a setting as it is configured: text as it is, null as nothing, and
// anything else as JSON.
func plain(value json.RawMessage) string {
	var text string
	if len(value) == 0 || json.Unmarshal(value, &text) == nil {
		return text // null leaves it empty
	}
	return string(value)
}

func (p payload) judge(t *testing.T, connector, dir string) {
	body, err := os.ReadFile(filepath.Join(dir, p.File))
	if err != nil {
		t.Fatal(err)
	}
	r, err := normalize.Normalize(connector, body, normalize.Options{ReceivedAt: time.Now(), Unsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	want := cmp.Or(corrected[connector+"/"+p.File], fmt.Sprint(p.Expect["event_type"]))
	right, free := accept[want]
	if !free {
		right = []string{want}
	}
	if len(r.Events) == 0 {
		if r.Outcome() != normalize.OutcomeIgnored || !slices.Contains(right, ignored) {
			t.Errorf("outcome %s, want %s: %+v", r.Outcome(), want, r.Skipped)
		}
		return
	}
	var types []string
	for _, e := range r.Events {
		types = append(types, string(e.Type))
	}
	i := slices.IndexFunc(types, func(typ string) bool { return slices.Contains(right, typ) })
	switch {
	case i < 0:
		t.Errorf("types %v, want %s", types, want)
	case !free: // whose word is not ours may mean other fields too
		p.compare(t, connector, r.Events[i].Data)
	}
}

// compare judges the fields that were expected of an event, as they are encoded.
func (p payload) compare(t *testing.T, connector string, data schemas.Data) {
	t.Helper()
	key := p.Expect["merchant_transaction_id"]
	if id, ok := key.(string); ok && processorIDs[connector] != nil && processorIDs[connector].MatchString(id) {
		if key = nil; data.MerchantTransactionID == id || !slices.Contains(data.ConnectorReferences, id) {
			t.Errorf("the key is %s and the references are %v, want %s among the references only", data.MerchantTransactionID, data.ConnectorReferences, id)
		}
	}
	b, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	amount, _ := got["amount"].(map[string]any)
	currency := p.Expect["currency"]
	if text, ok := currency.(string); ok {
		currency = strings.ToUpper(text)
	}
	for _, c := range []struct {
		field     string
		got, want any
	}{
		{"merchant_transaction_id", got["merchant_transaction_id"], key},
		{"connector_transaction_id", got["connector_transaction_id"], p.Expect["connector_transaction_id"]},
		{"amount.value", amount["value"], p.Expect["amount_minor"]},
		{"amount.currency", amount["currency"], currency},
		{"connector_event_id", got["connector_event_id"], p.Expect["event_id"]},
		{"connector_refund_id", got["connector_refund_id"], p.Expect["connector_refund_id"]},
		{"connector_dispute_id", got["connector_dispute_id"], p.Expect["connector_dispute_id"]},
	} {
		if c.want != nil && fmt.Sprint(c.got) != fmt.Sprint(c.want) {
			t.Errorf("%s is %v, want %v", c.field, c.got, c.want)
		}
	}
}
