package normalize

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/schemas"
)

// The tests in this file check the rules that all connectors follow.

// unknown is the name of an event that no processor has.
const unknown = "zz_not_yet"

// eventNames maps a connector to the fields that have the name of its event: paths into
// JSON ("*" is each item of an array), an element of XML, or a field of a form. If
// there are several, each has the name in some of the connector's webhooks.
var eventNames = map[string][]string{
	"adyen":                 {"notificationItems.*.NotificationRequestItem.eventCode", "eventCode"},
	"adyen-platform":        {"type"},
	"authorizenet":          {"eventType"},
	"billplz":               {"status"}, // of payment orders: bills are paid, or not
	"braintree":             {"kind"},
	"btcpay":                {"type"},
	"cashfree":              {"type"},
	"checkout":              {"type"},
	"coinbase-commerce":     {"event.type"},
	"epay-bambora":          nil, // it has one event, without a name
	"fiuu-molpay":           {"status", "Status"},
	"flutterwave":           {"event", "type"},
	"globalpayments-realex": {"RESULT"},
	"gocardless":            {"events.*.action"},
	"ipay88":                {"Status"},
	"liqpay":                {"status"},
	"lithic":                {"event_type"},
	"lyra":                  {"transactions.*.detailedStatus"},
	"mercadopago":           {"type", "topic"},
	"midtrans":              {"transaction_status"},
	"modern-treasury":       {"event"},
	"mollie":                {"type"},
	"moneyhash":             {"type"},
	"monnify":               {"eventType"},
	"multisafepay":          {"status"},
	"opayo-server":          {"Status"},
	"paddle":                {"event_type"},
	"paypal":                {"event_type"},
	"paystack":              {"event"},
	"payu-emea":             {"order.status"},
	"payu-india":            {"status"},
	"portone":               {"type"},
	"quickpay":              {"operations.*.type"},
	"razorpay":              {"event"},
	"recurly":               {"event_type"},
	"robokassa":             nil, // as ePay
	"shopify":               {"kind"},
	"skrill":                {"status"},
	"sofort":                {"status"},
	"square":                {"type"},
	"standardwebhooks":      {"type"},
	"stripe":                {"type"},
	"svix":                  {"type"},
	"truelayer":             {"type"},
	"trustly":               {"method"},
	"wallee":                {"listenerEntityTechnicalName"},
	"wechatpay":             {"event_type"},
	"wompi":                 {"event"},
	"worldline-connect":     {"type"},
	"xendit":                {"event"},
	"xsolla":                {"notification_type"},
}

// sampleOptions returns the options that the name of a sample sets.
func sampleOptions(file string) Options {
	o := Options{ReceivedAt: received}
	if _, setting, ok := strings.Cut(strings.TrimSuffix(file, path.Ext(file)), "@"); ok {
		name, value, _ := strings.Cut(setting, "=")
		o.Settings = map[string]string{name: value}
	}
	return o
}

// eachSample runs f for every sample of every connector.
func eachSample(t *testing.T, f func(t *testing.T, connector, file string, payload []byte)) {
	t.Helper()
	for connector, files := range inputs(t) {
		t.Run(connector, func(t *testing.T) {
			for _, file := range files {
				payload, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				f(t, connector, file, payload)
			}
		})
	}
}

// TestUnknownEvent: an event whose name the connector does not know is ignored,
// whatever shape its other fields have.
func TestUnknownEvent(t *testing.T) {
	seen := map[string]bool{}
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		if strings.HasPrefix(filepath.Base(file), string(OutcomeMalformed)) {
			return // it may not have the processor's format
		}
		for _, name := range eventNames[connector] {
			for what, body := range withUnknownName(payload, name) {
				seen[connector] = true
				r, err := Normalize(connector, body, sampleOptions(file))
				if err != nil {
					t.Fatal(err)
				}
				if r.Outcome() != OutcomeIgnored {
					t.Errorf("%s with an unknown %s and %s: %s, %+v, want ignored\n%s", file, name, what, r.Outcome(), r.Skipped, body)
					return
				}
			}
		}
	})
	for _, connector := range Connectors() {
		if names, ok := eventNames[connector]; !ok || len(names) > 0 && !seen[connector] {
			t.Errorf("%s: no sample has an event name at a path of eventNames", connector)
		}
	}
}

// withUnknownName returns copies of the payload with an unknown event name, by what
// else was changed. There are none if the payload has no name at that path.
func withUnknownName(payload []byte, name string) map[string][]byte {
	switch payload[0] {
	case '{':
		return withUnknownNameJSON(payload, name)
	case '<':
		return withUnknownNameXML(payload, name)
	default:
		return withUnknownNameForm(payload, name)
	}
}

func withUnknownNameJSON(payload []byte, name string) map[string][]byte {
	var doc any
	if json.Unmarshal(payload, &doc) != nil || !setUnknownName(doc, strings.Split(name, ".")) {
		return nil
	}
	write := func() []byte {
		b, err := json.Marshal(doc)
		if err != nil {
			panic(err) // doc was read from JSON
		}
		return b
	}
	all := map[string][]byte{"nothing else": write()}
	reshapeEach(doc, strings.Split(name, "."), "", func(at string) { all[at+" of another shape"] = write() })
	return all
}

// setUnknownName replaces the name at the path by an unknown one, and reports whether
// there was a name.
func setUnknownName(v any, at []string) (found bool) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = at[0] == "*" && setUnknownName(item, at[1:]) || found
		}
	case map[string]any:
		old, ok := v[at[0]]
		if len(at) > 1 {
			return ok && setUnknownName(old, at[1:])
		}
		if text, is := old.(string); is && text != "" {
			v[at[0]] = unknown
			return true
		}
	}
	return found
}

// reshapeEach calls try once for each value, after replacing that value by one of
// another shape. It keeps the event name and its parents; name is nil outside of them.
func reshapeEach(v any, name []string, at string, try func(at string)) {
	change := func(key string, old any, set func(any)) {
		var below []string
		if len(name) > 0 && (name[0] == key || name[0] == "*") {
			below = name[1:]
		}
		if below == nil || len(name) == 0 {
			set(reshaped(old))
			try(at + "." + key)
			set(old)
		}
		if len(name) != 1 || name[0] != key {
			reshapeEach(old, below, at+"."+key, try)
		}
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			change(fmt.Sprint(i), item, func(to any) { v[i] = to })
		}
	case map[string]any:
		for key, value := range v {
			change(key, value, func(to any) { v[key] = to })
		}
	}
}

// reshaped returns a value of another shape.
func reshaped(v any) any {
	switch v.(type) {
	case string, bool:
		return map[string]any{"new": []any{1, "two"}}
	case float64:
		return []any{"new"}
	case []any:
		return map[string]any{"new": 1}
	default: // an object or null
		return []any{"new", 1, []any{}}
	}
}

func withUnknownNameXML(payload []byte, name string) map[string][]byte {
	element := regexp.MustCompile(`(?s)<` + name + `>.*?</` + name + `>`)
	if !element.Match(payload) {
		return nil
	}
	first := element.FindIndex(payload)
	body := slices.Concat(payload[:first[0]], []byte("<"+name+">"+unknown+"</"+name+">"), payload[first[1]:])
	subject := regexp.MustCompile(`(?s)<subject>.*</subject>`)
	return map[string][]byte{
		"nothing else":         body,
		"another subject":      subject.ReplaceAll(body, []byte("<subject><new><id><id>1</id></id></new>text</subject>")),
		"a subject of text":    subject.ReplaceAll(body, []byte("<subject>text</subject>")),
		"without a subject":    subject.ReplaceAll(body, nil),
		"another timestamp":    regexp.MustCompile(`<timestamp.*?</timestamp>`).ReplaceAll(body, []byte("<timestamp>soon</timestamp>")),
		"other things besides": subject.ReplaceAll(body, []byte("<subject/><subject/><kinds><kind>x</kind></kinds>")),
	}
}

func withUnknownNameForm(payload []byte, name string) map[string][]byte {
	form, err := url.ParseQuery(string(payload))
	if err != nil {
		return nil
	}
	all := map[string][]byte{}
	if data := form.Get("data"); data != "" { // LiqPay's
		inner, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil
		}
		for what, body := range withUnknownNameJSON(inner, name) {
			form.Set("data", base64.StdEncoding.EncodeToString(body))
			all[what] = []byte(form.Encode())
		}
		return all
	}
	if form.Get(name) == "" {
		return nil
	}
	form.Set(name, unknown)
	all["nothing else"] = []byte(form.Encode())
	for field := range form {
		if field == name {
			continue
		}
		old := form.Get(field)
		form.Set(field, "new: 1")
		all["another "+field] = []byte(form.Encode())
		form.Set(field, old)
	}
	return all
}

// batches maps a connector to the list of items in its webhooks, and to the path of the
// name in an item.
var batches = map[string]struct {
	list string
	name []string
}{
	"adyen":      {"notificationItems", []string{"NotificationRequestItem", "eventCode"}},
	"gocardless": {"events", []string{"action"}},
	"lyra":       {"transactions", []string{"detailedStatus"}},
	"shopify":    {"transactions", []string{"kind"}},
	"xendit":     {"disbursements", []string{"status"}},
}

// TestUnknownItem: an item of a batch that is unknown, has an unexpected shape or
// cannot be read does not change the events of the other items.
func TestUnknownItem(t *testing.T) {
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		batch, ok := batches[connector]
		var doc map[string]any
		if !ok || json.Unmarshal(payload, &doc) != nil || doc[batch.list] == nil {
			return
		}
		list, _ := doc[batch.list].([]any)
		before, err := Normalize(connector, payload, sampleOptions(file))
		if err != nil || before.Outcome() != OutcomeEvents || len(list) == 0 {
			return
		}
		try := func(what string, item any, want Outcome) {
			doc[batch.list] = append([]any{item}, list...)
			body, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			after, err := Normalize(connector, body, sampleOptions(file))
			switch {
			case err != nil:
				t.Error(err)
			case !reflect.DeepEqual(before.Events, after.Events):
				t.Errorf("%s and an item with %s: %d events, %+v, and without the item %d", file, what, len(after.Events), after.Skipped, len(before.Events))
			case len(after.Skipped) == 0 || after.Skipped[0].Item != 0 || after.Skipped[0].Outcome != want && want != "":
				t.Errorf("%s and an item with %s: %+v, want the first %s", file, what, after.Skipped, want)
			}
		}
		fresh := func() (item map[string]any) {
			b, _ := json.Marshal(list[0]) // it was read from JSON
			_ = json.Unmarshal(b, &item)
			return item
		}
		item := fresh()
		setUnknownName(item, batch.name)
		try("an unknown name", item, OutcomeIgnored)
		reshapeEach(item, batch.name, "", func(at string) { try("an unknown name and another "+at, item, OutcomeIgnored) })
		try("another shape altogether", []any{"new"}, OutcomeMalformed)
		item = fresh()
		reshapeEach(item, nil, "", func(at string) {
			doc[batch.list] = append([]any{item}, list[1:]...)
			body, _ := json.Marshal(doc)
			if r, _ := Normalize(connector, body, sampleOptions(file)); r.Outcome() != OutcomeEvents && len(list) == 1 { // the item alone gives no event
				try("another "+at, item, "")
			}
		})
	})
}

// TestByteOrderMark: a payload gives the same events with and without a byte order
// mark.
func TestByteOrderMark(t *testing.T) {
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		want, err := Normalize(connector, payload, sampleOptions(file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Normalize(connector, append([]byte("\xef\xbb\xbf"), payload...), sampleOptions(file))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s after a byte order mark: %+v, %v, want %+v", file, got, err, want)
		}
	})
}

// methodTypes lists the payment method types that consumers see. None is the name of a
// card network or of a bank.
var methodTypes = strings.Fields(`
	account_transfer ach ach_debit applepay bacs bank bank_account bank_transfer bankcard banktransfer blik card cards cash cc cod
	convenience_store credit_card credit_debit_card creditcard crypto cstore customer_balance debit_card direct_debit directdebit_nl echeck emandate ewallet
	fpx giftcard gift_card googlepay gopay ideal klarna mandate mobile_money mobilemoneyug momo multibanco nequi net_banking pay_later payafter paypal pbl pse qr_code qris retail_outlet
	sepa_core sepa_debit sepadirectdebit upi us_bank_account virtual_account wallet wire zengin`)

// TestPaymentMethodTypes: the type of every payment method is in methodTypes.
func TestPaymentMethodTypes(t *testing.T) {
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		r, err := Normalize(connector, payload, sampleOptions(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if m := e.Data.PaymentMethod; m != nil && !slices.Contains(methodTypes, m.Type) {
				t.Errorf("%s: payment_method.type is %q (brand %q), which is not in the list: is it a kind of payment method?", file, m.Type, m.Brand)
			}
		}
	})
}

// TestMethod: a card network in place of the kind becomes the brand of a card.
func TestMethod(t *testing.T) {
	for _, tt := range []struct{ kind, brand, wantType, wantBrand string }{
		{"Visa", "", "card", "visa"},
		{"MASTERCARD", "credit", "card", "mastercard"},
		{"", "Amex", "card", "amex"},
		{"card", "VISA", "card", "visa"},
		{"iDEAL", "ing", "ideal", "ing"},
		{"American Express", "", "card", "american express"},
	} {
		if m := method(tt.kind, tt.brand); m == nil || m.Type != tt.wantType || m.Brand != tt.wantBrand {
			t.Errorf("method(%q, %q) is %+v, want %s, %s", tt.kind, tt.brand, m, tt.wantType, tt.wantBrand)
		}
	}
	if m := method("", "ing"); m != nil {
		t.Errorf("a brand that is not a card network, without a kind: %+v, want nil", m)
	}
}

// TestControlCharacterInReference: a merchant's reference with a control character
// never becomes a key. The event has a fallback key, and the result says why. If other
// ids of the event have such a character, too, the event is malformed. No event is
// lost.
// lost.
func TestControlCharacterInReference(t *testing.T) {
	fallback, keyed := map[string]bool{}, map[string]bool{}
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		before, err := Normalize(connector, payload, sampleOptions(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range before.Events {
			if e.Data.KeySource == schemas.KeyFromConnector || isID(e, e.Subject) {
				continue
			}
			keyed[connector] = true
			body := withControlCharacter(payload, e.Subject)
			after, err := Normalize(connector, body, sampleOptions(file))
			if err != nil {
				t.Fatal(err)
			}
			lost := len(before.Events) - len(after.Events)
			for _, k := range after.Skipped {
				if k.Outcome == OutcomeMalformed {
					lost--
				}
				if strings.Contains(k.Reason, "fallback key") {
					fallback[connector] = true
				}
			}
			if lost > 0 {
				t.Errorf("%s with a control character in %q: %d events, %+v, want %d", file, e.Subject, len(after.Events), after.Skipped, len(before.Events))
			}
			for _, e := range after.Events {
				if err := schemas.CheckReference(e.Subject); err != nil {
					t.Errorf("%s: a key %q", file, e.Subject)
				}
			}
		}
	})
	for _, connector := range Connectors() {
		if keyed[connector] && !fallback[connector] {
			t.Errorf("%s: no event has a fallback key in place of a reference with a control character", connector)
		}
	}
}

// isID reports whether s is also one of the processor's ids.
func isID(e schemas.Event, s string) bool {
	d := e.Data
	return slices.Contains(append([]string{d.ConnectorTransactionID, d.ConnectorRefundID, d.ConnectorPayoutID, d.ConnectorDisputeID, d.Account}, d.ConnectorReferences...), s)
}

// withControlCharacter returns the payload with a control character after each s.
func withControlCharacter(payload []byte, s string) []byte {
	switch payload[0] {
	case '{':
		return bytes.ReplaceAll(payload, []byte(s+`"`), []byte(s+`\u0000"`))
	case '<':
		return bytes.ReplaceAll(payload, []byte(s+"<"), []byte(s+"\u0085<"))
	}
	form, _ := url.ParseQuery(string(payload)) // Normalize read it as a form
	for name, values := range form {
		inner, err := base64.StdEncoding.DecodeString(values[0])
		switch {
		case values[0] == s:
			form.Set(name, s+"\x00")
		case name == "data" && err == nil && len(inner) > 0:
			form.Set(name, base64.StdEncoding.EncodeToString(withControlCharacter(inner, s)))
		}
	}
	return []byte(form.Encode())
}

// TestControlCharacterSample checks the exact key of one webhook.
func TestControlCharacterSample(t *testing.T) {
	const body = `{"id":"evt_1","object":"event","created":1767225600,"livemode":true,"type":"payment_intent.succeeded",` +
		`"data":{"object":{"id":"pi_1","amount_received":100,"currency":"eur","metadata":{"order_id":"order-1%s"}}}}`
	for suffix, want := range map[string]string{``: "order-1", ` é 漢`: "order-1 é 漢", `\u0000`: "stripe::pi_1", `\u001b[2J`: "stripe::pi_1", `\u007f`: "stripe::pi_1", `\u0085`: "stripe::pi_1"} {
		r, err := Normalize("stripe", fmt.Appendf(nil, body, suffix), Options{ReceivedAt: received})
		if err != nil || len(r.Events) != 1 || r.Events[0].Subject != want {
			t.Errorf("%q: %+v, %v, want the key %s", suffix, r, err, want)
			continue
		}
		if fallback := want == "stripe::pi_1"; len(r.Skipped) > 0 != fallback || fallback && r.Events[0].Data.KeySource != schemas.KeyFromConnector {
			t.Errorf("%q: key source %s, kept %+v", suffix, r.Events[0].Data.KeySource, r.Skipped)
		}
	}
}

// TestCounting: a connector says how its captures are counted if it reports any, and how
// its refunds are, if a sample has a refund without an id.
func TestCounting(t *testing.T) {
	known := []Counting{CountsParts, CountsTotal, CountsOnce, CountsUnknown}
	for _, name := range Connectors() {
		c, _ := Lookup(name)
		captures := slices.Contains(c.Types(), schemas.PaymentCaptured)
		if (captures || c.Captures != "") && !slices.Contains(known, c.Captures) {
			t.Errorf("%s: Captures is %q, and it reports captures: %t", name, c.Captures, captures)
		}
		if c.Refunds != "" && !slices.Contains(known, c.Refunds) {
			t.Errorf("%s: Refunds is %q", name, c.Refunds)
		}
	}
	for name, files := range inputs(t) {
		c, _ := Lookup(name)
		for _, f := range files {
			for _, e := range golden(t, name, f).Events {
				if e.Type == schemas.RefundSucceeded && e.Data.ConnectorRefundID == "" && e.Data.MerchantRefundID == "" && c.Refunds == "" {
					t.Errorf("%s: a refund has no id, and Refunds is empty", f)
				}
			}
		}
	}
}
