package console

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

var testMasker = newMasker([]webhook.Endpoint{{Connector: "stripe", Keys: verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: "whsec_a/b c+d="}}}}})

// TestMask: card numbers, secrets and personal fields are masked in each format, and
// everything else is left as it is.
func TestMask(t *testing.T) {
	const hidden = "Erika Mustermann"
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"customer":{"name":"` + hidden + `","email":"erika@example.com"},"id":"pi_1"}`))
	for body, want := range map[string]string{
		"":                            "",
		`{"id":"pi_1","amount":1099}`: `{"id":"pi_1","amount":1099}`,
		`{ "id" : "pi_1", "n" : 1.0e3 ,"live":true, "x":null}` + "\n":                          `{ "id" : "pi_1", "n" : 1.0e3 ,"live":true, "x":null}` + "\n",
		`{"customer":{"name":"` + hidden + `"},"id":"1"}`:                                      `{"customer":{"name":"•••"},"id":"1"}`,
		`{"billing_address":{"any":["` + hidden + `",{"x":7}]},"id":"1"}`:                      `{"billing_address":{"any":["•••",{"x":"•••"}]},"id":"1"}`,
		`{"address":null,"email":"","phone":false}`:                                            `{"address":null,"email":"","phone":false}`,
		`[{"first-name":"Erika"},{"Card_Number":4242}]`:                                        `[{"first-name":"•••"},{"Card_Number":"•••"}]`,
		`{"x":"4242 4242 4242 4242","y":4242424242424242,"z":4242424242424241}`:                `{"x":"•••4242","y":"•••4242","z":4242424242424241}`,
		`{"created":1767225600000,"id":"4242424242424242a"}`:                                   `{"created":1767225600000,"id":"4242424242424242a"}`,
		`{"x":"to erika@example.com, DE89 3704 0044 0532 0130 00"}`:                            `{"x":"to •••, •••"}`,
		`{"x":"whsec_a/b c+d=","y":"whsec_a%2Fb+c%2Bd%3D"}`:                                    `{"x":"•••","y":"•••"}`,
		`{"password":"1234","client_secret":"x","hmacSignature":"x","signature":{"name":"n"}}`: `{"password":"•••","client_secret":"•••","hmacSignature":"x","signature":{"name":"•••"}}`,
		`{"payload":"{\"email\":\"a@b.cc\",\"id\":1}"}`:                                        `{"payload":"{\"email\":\"•••\",\"id\":1}"}`,
		`{"id":1,"email":"a@b.cc","email":"b@c.dd"}`:                                           `{"id":1,"email":"•••","email":"•••"}`,
		`{"customer_name": "` + hidden + `", "email`:                                           `{"customer_name": "•••", "email`, // no JSON
		"id=1&amount=5&email=a%40b.cc&customer_name=Erika+M&card=4242424242424242":             "id=1&amount=5&email=•••&customer_name=•••&card=•••4242",
		"data=%7B%22phone%22%3A%22123%22%7D&id=1":                                              `data={"phone":"•••"}&id=1`,
		"<a><first-name>Erika</first-name><id>1</id><c:email x=\"1\">a</c:email></a>":          "<a><first-name>•••</first-name><id>1</id><c:email x=\"1\">•••</c:email></a>",
		`<card number="4242424242424242" holder='` + hidden + `' id="1"/>`:                     `<card number="•••4242" holder='•••' id="1"/>`,
		"eyJhbGciOiJIUzI1NiJ9." + payload + ".c2lnbmF0dXJl":                                    "eyJhbGciOiJIUzI1NiJ9.•••.c2lnbmF0dXJl",
		"bt_payload=" + payload:                                                                "bt_payload=•••",
		"\xff\xfe\x00binary":                                                                   "•••",
		`{"x":"` + strings.Join(lines(base64.StdEncoding.EncodeToString([]byte("<a><name>"+strings.Repeat("Müller ", 9)+"</name></a>"))), `\n`) + `"}`: `{"x":"•••"}`,
		`{"x":"` + base64.StdEncoding.EncodeToString([]byte("a" + strings.Repeat("ü", 40)))[:77] + `…"}`:                                               `{"x":"•••…"}`, // cut
		"<a><name>Erika Muster":              "<a><name>•••",
		`{"id":1,"customer_name":"Erika Mus`: `{"id":1,"customer_name":"•••"`,
	} {
		if got := string(testMasker.body([]byte(body))); got != want {
			t.Errorf("%q is shown as %q, want %q", body, got, want)
		}
	}
}

// lines returns base64 in lines of 60 characters, as Ruby writes it.
func lines(s string) (all []string) {
	for ; len(s) > 60; s = s[60:] {
		all = append(all, s[:60])
	}
	return append(all, s)
}

// TestMaskSamples: a sample of any connector in JSON stays valid JSON with the same
// fields, and has no e-mail address and no card number.
func TestMaskSamples(t *testing.T) {
	n := 0
	for _, connector := range normalize.Connectors() {
		for _, name := range samples.Names(connector) {
			body, _ := samples.Payload(connector, name)
			got := testMasker.body(body)
			if json.Valid(body) {
				n++
				if !json.Valid(got) || strings.Count(string(body), `":`) > strings.Count(string(got), `":`)+strings.Count(string(body), `\":`) {
					t.Errorf("%s %s: the masked body is %s", connector, name, got)
				}
			}
			if emails.Match(got) {
				t.Errorf("%s %s: an e-mail address is left: %s", connector, name, emails.Find(got))
			}
		}
	}
	if n < 100 {
		t.Errorf("%d samples in JSON, want at least 100", n)
	}
}

// TestMaskHeaders: signatures are shown; a secret or a personal value in the query or a
// header is not.
func TestMaskHeaders(t *testing.T) {
	w := testMasker.webhook(&webhook.Archived{
		Reason: `"erika@example.com" is no amount`,
		Query:  "secret=abc&order=1&mail=a%40b.cc",
		Header: http.Header{"Stripe-Signature": {"t=1,v1=" + strings.Repeat("0a", 32)}, "X-Odd": {"whsec_a/b c+d="}},
	})
	if w.Reason != `"•••" is no amount` || w.Query != "secret=•••&order=1&mail=•••" || w.Header.Get("X-Odd") != masked || !strings.HasSuffix(w.Header.Get("Stripe-Signature"), "0a0a") {
		t.Errorf("query %q, headers %v", w.Query, w.Header)
	}
	if !slices.Equal(testMasker.secrets, []string{"whsec_a/b c+d="}) {
		t.Errorf("secrets %q", testMasker.secrets)
	}
}

// TestUnmasked: with the right to see personal fields, card numbers, secrets and the fields
// of both stay masked.
func TestUnmasked(t *testing.T) {
	m := testMasker
	m.personal = true
	for body, want := range map[string]string{
		`{"email":"a@b.cc","name":"Erika","card_number":"4242424242424242","cvc":"123","x":"4242424242424242"}`: `{"email":"a@b.cc","name":"Erika","card_number":"•••","cvc":"•••","x":"•••4242"}`,
		`{"x":"whsec_a/b c+d=","password":"p","pan":"1"}`:                                                       `{"x":"•••","password":"•••","pan":"•••"}`,
		"name=Erika&token=t&iban=DE89370400440532013000":                                                        "name=Erika&token=•••&iban=DE89370400440532013000",
		"\xff\xfewhsec_a/b c+d=": "\xff\xfe•••",
		"bt_payload=" + base64.StdEncoding.EncodeToString([]byte(`{"customer":{"name":"Erika Mustermann"},"card":"4242424242424242","token":"abc"}`)): "bt_payload=" +
			base64.StdEncoding.EncodeToString([]byte(`{"customer":{"name":"Erika Mustermann"},"card":"•••4242","token":"•••"}`)),
		`{"x":"` + base64.RawURLEncoding.EncodeToString([]byte(`{"customer":{"name":"Erika Mustermann"},"id":"pi_1234567890123"}`)) + `"}`: `{"x":"` +
			base64.RawURLEncoding.EncodeToString([]byte(`{"customer":{"name":"Erika Mustermann"},"id":"pi_1234567890123"}`)) + `"}`,
	} {
		if got := string(m.body([]byte(body))); got != want {
			t.Errorf("%q is shown as %q, want %q", body, got, want)
		}
	}
}

// TestMaskEmails: an address is masked as by the expression on the whole text.
func TestMaskEmails(t *testing.T) {
	for _, s := range []string{
		"", "@", "a@b.de", "a@b", "anna%40example.com", "x anna@example.com, bea@example.co.uk;", "a@b.de@c.de", "a@@b.de", `"Zoë@exämple.de"`, "a@b.de.", "q=a%40b.de&r=c%40d.de", "a%40b.de%40c.de",
		strings.Repeat("x", 70) + "@example.com", "é" + strings.Repeat("é", 63) + "@example.com " + strings.Repeat("a@", 9), "a@" + strings.Repeat("b.", 100) + "de",
	} {
		if got, want := maskEmails(s), emails.ReplaceAllString(s, masked); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// BenchmarkMask masks bodies of 1 MB that regular expressions can be slow on.
func BenchmarkMask(b *testing.B) {
	for name, part := range map[string]string{"letters": "x", "addresses": "a@b.de ", "ats": "@", "digits": "4 ", "capitals": "DE89 "} {
		body := []byte(`{"description":"` + strings.Repeat(part, 1<<20/len(part)) + `"}`)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				masker{}.body(body)
			}
		})
	}
}
