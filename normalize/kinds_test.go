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

// The tests in this file hold every connector to what is true of all of them.

// unknown is the name of an event that no processor has.
const unknown = "zz_not_yet"

// eventNames are where each connector's event has its name, as paths into JSON
// ("*" is each item of an array), as an element of XML, or as a field of a form.
// Where there are several, each is the name in some of its webhooks.
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

// sampleOptions are the options that a sample's name states.
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

// TestUnknownEvent: an event whose name no connector knows is ignored, whatever
// the shape of the rest of it.
func TestUnknownEvent(t *testing.T) {
	seen := map[string]bool{}
	eachSample(t, func(t *testing.T, connector, file string, payload []byte) {
		if strings.HasPrefix(filepath.Base(file), string(OutcomeMalformed)) {
			return // it need not be of the processor's format
		}
		for _, name := range eventNames[connector] {
			for what, body := range unknowns(payload, name) {
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
			t.Errorf("%s: no sample has an event's name where eventNames says", connector)
		}
	}
}

// unknowns are the payload with an unknown name, by what else was changed in it.
// There are none if the payload has no name there.
func unknowns(payload []byte, name string) map[string][]byte {
	switch payload[0] {
	case '{':
		return unknownsJSON(payload, name)
	case '<':
		return unknownsXML(payload, name)
	default:
		return unknownsForm(payload, name)
	}
}

func unknownsJSON(payload []byte, name string) map[string][]byte {
	var doc any
	if json.Unmarshal(payload, &doc) != nil || !renamed(doc, strings.Split(name, ".")) {
		return nil
	}
	write := func() []byte {
		b, err := json.Marshal(doc)
		if err != nil {
			panic(err) // it was read from JSON
		}
		return b
	}
	all := map[string][]byte{"nothing else": write()}
	reshapeEach(doc, strings.Split(name, "."), "", func(at string) { all[at+" of another shape"] = write() })
	return all
}

// renamed puts the unknown name where the path leads, and reports whether a name
// was there.
func renamed(v any, at []string) (found bool) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = at[0] == "*" && renamed(item, at[1:]) || found
		}
	case map[string]any:
		old, ok := v[at[0]]
		if len(at) > 1 {
			return ok && renamed(old, at[1:])
		}
		if text, is := old.(string); is && text != "" {
			v[at[0]] = unknown
			return true
		}
	}
	return found
}

// reshapeEach gives each value another shape in turn, but for the name and what
// leads to it; name is nil below that.
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

// reshaped is a value of another shape.
func reshaped(v any) any {
	switch v.(type) {
	case string, bool:
		return map[string]any{"new": []any{1, "two"}}
	case float64:
		return []any{"new"}
	case []any:
		return map[string]any{"new": 1}
	default: // an object, or nothing
		return []any{"new", 1, []any{}}
	}
}

func unknownsXML(payload []byte, name string) map[string][]byte {
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

func unknownsForm(payload []byte, name string) map[string][]byte {
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
		for what, body := range unknownsJSON(inner, name) {
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

// batches are where the items of a webhook stand that can have several, and
// where in an item its name is.
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

// TestUnknownItem: beside an item that is not known, whatever its shape, and
// beside one that cannot be read, the other items of a batch are the events that
// they are without it.
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
				t.Errorf("%s beside an item with %s: %d events, %+v, and without it %d", file, what, len(after.Events), after.Skipped, len(before.Events))
			case len(after.Skipped) == 0 || after.Skipped[0].Item != 0 || after.Skipped[0].Outcome != want && want != "":
				t.Errorf("%s beside an item with %s: %+v, want the first %s", file, what, after.Skipped, want)
			}
		}
		fresh := func() (item map[string]any) {
			b, _ := json.Marshal(list[0]) // it was read from JSON
			_ = json.Unmarshal(b, &item)
			return item
		}
		item := fresh()
		renamed(item, batch.name)
		try("an unknown name", item, OutcomeIgnored)
		reshapeEach(item, batch.name, "", func(at string) { try("an unknown name and another "+at, item, OutcomeIgnored) })
		try("another shape altogether", []any{"new"}, OutcomeMalformed)
		item = fresh()
		reshapeEach(item, nil, "", func(at string) {
			doc[batch.list] = append([]any{item}, list[1:]...)
			body, _ := json.Marshal(doc)
			if r, _ := Normalize(connector, body, sampleOptions(file)); r.Outcome() != OutcomeEvents && len(list) == 1 { // then it has no event of its own
				try("another "+at, item, "")
			}
		})
	})
}

// TestByteOrderMark: a payload with a byte order mark in front is the same
// events as the one without.
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

// methodTypes are the words for how it was paid that consumers meet. None is the
// name of a card network, or of a bank.
var methodTypes = strings.Fields(`
	account_transfer ach ach_debit applepay bacs bank bank_account bank_transfer bankcard banktransfer blik card cards cash cc cod
	convenience_store credit_card credit_debit_card creditcard crypto cstore customer_balance debit_card direct_debit directdebit_nl echeck emandate ewallet
	fpx giftcard gift_card googlepay gopay ideal klarna mandate mobile_money mobilemoneyug momo multibanco nequi net_banking pay_later payafter paypal pbl pse qr_code qris retail_outlet
	sepa_core sepa_debit sepadirectdebit upi us_bank_account virtual_account wallet wire zengin`)

// TestPaymentMethodTypes: the type of a payment method is a kind of payment
// method.
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

// TestMethod: a card network in place of the kind is a card's.
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
		t.Errorf("a brand that is no card network's, and no kind: %+v, want nothing", m)
	}
}

// TestControlCharacterInReference: a merchant's reference with a control
// character is never a key. The event has a fallback key, and the result says
// why; an event whose other ids have such a character, too, is malformed. None is
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
			body := controlled(payload, e.Subject)
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

// isID reports whether a text is one of the processor's ids, too.
func isID(e schemas.Event, s string) bool {
	d := e.Data
	return slices.Contains(append([]string{d.ConnectorTransactionID, d.ConnectorRefundID, d.ConnectorPayoutID, d.ConnectorDisputeID, d.Account}, d.ConnectorReferences...), s)
}

// controlled is the payload with a control character at the end of a text.
func controlled(payload []byte, s string) []byte {
	switch payload[0] {
	case '{':
		return bytes.ReplaceAll(payload, []byte(s+`"`), []byte(s+`\u0000"`))
	case '<':
		return bytes.ReplaceAll(payload, []byte(s+"<"), []byte(s+"\u0085<"))
	}
	form, _ := url.ParseQuery(string(payload)) // it was read as one
	for name, values := range form {
		inner, err := base64.StdEncoding.DecodeString(values[0])
		switch {
		case values[0] == s:
			form.Set(name, s+"\x00")
		case name == "data" && err == nil && len(inner) > 0:
			form.Set(name, base64.StdEncoding.EncodeToString(controlled(inner, s)))
		}
	}
	return []byte(form.Encode())
}

// TestControlCharacterSample: of one webhook, by the letter.
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
