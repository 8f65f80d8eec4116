package normalize

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// withoutMark returns text without the UTF-8 byte order mark that some senders,
// and the proxies before them, put in front. No format that is read here has
// one, and none reads differently without it.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// decode reads a JSON payload. Names given twice, text that is not UTF-8, and
// nesting beyond 10,000 levels are refused: a payload that two readers could
// take for two different things is believed by none. A byte order mark is
// skipped.
//
// Of a payload whose events have names, decode reads the name and leaves the
// rest a [jsontext.Value]: an event that is not known may have any other shape,
// and is no error. [redecode] reads the rest once the name is known.
func decode(payload []byte, v any) error {
	payload = withoutMark(payload)
	if plain(payload) {
		return redecode(payload, v)
	}
	return readable(json.Unmarshal(payload, v))
}

// redecode reads a payload that is plain, or one, or a part of one, that decode
// has read and so has refused what it refuses: to look for that is half of the
// work. A part that is not there is read as null.
func redecode(part jsontext.Value, v any) error {
	if len(part) == 0 {
		return nil
	}
	return readable(json.Unmarshal(part, v, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)))
}

// readable puts why a payload cannot be read into words of ours.
func readable(err error) error {
	var e *json.SemanticError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e) || e.GoType == nil:
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	case e.Err != nil:
		return fmt.Errorf("%w: %q: %v", ErrMalformed, e.JSONPointer, e.Err)
	default: // the package's own text differs from run to run, and can quote the payload
		return fmt.Errorf("%w: a JSON %s at %q, want %s", ErrMalformed, e.JSONKind, e.JSONPointer, e.GoType.Kind())
	}
}

// decodeXML reads an XML payload of one root element. Document type
// declarations, and nesting beyond what any processor sends, are refused:
// nothing here declares entities or is deep.
func decodeXML(payload []byte, v any) error {
	payload = withoutMark(payload)
	const deepest = 100
	roots, depth := 0, 0
	for d := xml.NewDecoder(bytes.NewReader(payload)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %v", ErrMalformed, err)
		}
		switch token.(type) {
		case xml.Directive:
			return fmt.Errorf("%w: a document type declaration", ErrMalformed)
		case xml.StartElement:
			if depth++; depth == 1 {
				roots++
			}
		case xml.EndElement:
			depth--
		}
		if roots > 1 || depth > deepest {
			return fmt.Errorf("%w: want one root element and at most %d levels", ErrMalformed, deepest)
		}
	}
	if err := xml.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}

// decodeForm reads a form-encoded payload. A field given twice is refused.
func decodeForm(payload []byte) (map[string]string, error) {
	values, err := url.ParseQuery(string(withoutMark(payload)))
	if err != nil {
		return nil, fmt.Errorf("%w: not a form: %v", ErrMalformed, err)
	}
	f := map[string]string{}
	for name, v := range values {
		if len(v) > 1 {
			return nil, fmt.Errorf("%w: the field %q is given %d times, want one", ErrMalformed, name, len(v))
		}
		f[name] = v[0]
	}
	return f, nil
}

// oneFact returns the only fact of a payload, under the processor's name for
// the event. A fact that could not be read is malformed.
func oneFact[E ~string](event E, f Fact, err error) ([]Fact, error) {
	if err != nil {
		return oneMalformed(event, err)
	}
	f.ConnectorEventType = string(event)
	return []Fact{f}, nil
}

// oneMalformed returns the only fact of a payload whose event is known by name
// and cannot be read.
func oneMalformed[E ~string](event E, err error) ([]Fact, error) {
	return []Fact{malformed(event, err)}, nil
}

// ignored returns a fact that becomes no event, and the reason.
func ignored[E ~string](event E, reason string) Fact {
	f := Fact{Outcome: OutcomeIgnored, Why: reason}
	f.ConnectorEventType = string(event)
	return f
}

// notUnified returns the ignored fact of an event type that the connector does
// not map.
func notUnified[E ~string](event E) Fact {
	return ignored(event, fmt.Sprintf("event type %q is not about a payment, refund, dispute, payout or mandate that tollbridge unifies", event))
}

// unknownStatus returns the fact of an event whose type is mapped and whose
// status is in no table of the connector. It is ignored, not malformed:
// processors add statuses, and the archived webhook can be replayed once the
// connector knows the new one. what names the field, such as "the status".
func unknownStatus[E, S ~string](event E, what string, status S) Fact {
	return ignored(event, fmt.Sprintf("%s %q is none that is known", what, status))
}

// statusNotUnified returns the fact of an event whose status, which the
// processor may document, is no payment fact. Like [unknownStatus], it is
// ignored.
func statusNotUnified[E, S ~string](event E, what string, status S) Fact {
	return ignored(event, fmt.Sprintf("%s %q is not one that tollbridge unifies", what, status))
}

// malformed returns a fact that cannot be read, and the reason.
func malformed[E ~string](event E, err error) Fact {
	f := Fact{Outcome: OutcomeMalformed, Why: err.Error()}
	f.ConnectorEventType = string(event)
	return f
}

// setAmountByType copies the amount to the one that the type of a payment fact
// is about: authorized or captured. It is for processors whose events state the
// amount of that step; a captured fact says nothing then of what was authorized.
func (f *Fact) setAmountByType() {
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	}
}

// generic is the Func of senders whose payload is anything that its merchant
// chose: at most its type is read, by the name that the specification of
// Standard Webhooks recommends.
func generic(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		Type text `json:"type"`
	}
	if err := decode(payload, &e); err != nil {
		return []Fact{ignored("", "not a JSON object: the sender's own format, kept as it is")}, nil
	}
	return []Fact{ignored(e.Type, fmt.Sprintf("event type %q is the sender's own: what it means for a payment is not defined", e.Type))}, nil
}

// text is a JSON string, number or boolean as the text it is written as, for
// fields that a processor writes now one way and now another. Null, objects
// and arrays are the empty text.
type text string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case '"', '0', 't', 'f':
		v, err := d.ReadToken()
		*t = text(v.String())
		return err
	}
	*t = ""
	return d.SkipValue()
}

// others returns the ids that are neither empty nor the main one, each once.
func others[M, T ~string](main M, ids ...T) (all []string) {
	for _, id := range ids {
		if id := string(id); id != "" && id != string(main) && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// metadata is the free fields that a merchant may hang on a payment. Some
// processors send an empty array where there are none.
type metadata map[string]text

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *metadata) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, (*map[string]text)(m))
}

// merchantID returns the merchant's reference from free metadata, or "".
func (o Options) merchantID(in ...metadata) string {
	for _, key := range o.MerchantIDKeys {
		for _, m := range in {
			if id := string(m[key]); id != "" {
				return id
			}
		}
	}
	return ""
}

// first returns the first of its arguments that is not empty.
func first[T ~string](of ...T) string {
	for _, s := range of {
		if s != "" {
			return string(s)
		}
	}
	return ""
}

// unix is the time of a count of seconds; zero is no time.
func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// unixOrMilli is the time of a count of seconds, or of milliseconds; zero is no
// time.
func unixOrMilli(count int64) time.Time {
	if count > 1e11 { // in seconds, the year 5138
		return time.UnixMilli(count).UTC()
	}
	return unix(count)
}

// timestamp reads a time in one of the layouts; empty text is no time.
func timestamp[S ~string](s S, layouts ...string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, string(s)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: time %q is not of the form %s", ErrMalformed, s, strings.Join(layouts, " or "))
}

// deadline is a time that may be absent.
func deadline(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// minor is an amount in minor units that may be absent; see [schemas.Minor].
func minor[C ~string](value *int64, currency C, theirs map[string]int) (*schemas.Amount, error) {
	if value == nil {
		return nil, nil
	}
	a, err := schemas.Minor(*value, string(currency), theirs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return &a, nil
}

// minorText is an amount in minor units, written as text, that may be absent.
func minorText[V, C ~string](value V, currency C) (*schemas.Amount, error) {
	if value == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: amount %q is not a whole number of minor units", ErrMalformed, value)
	}
	return minor(&n, currency, nil)
}

// major is an amount in decimal text that may be absent; see [schemas.Major].
func major[D, C ~string](decimal D, currency C) (*schemas.Amount, error) {
	if decimal == "" {
		return nil, nil
	}
	a, err := schemas.Major(string(decimal), string(currency))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return &a, nil
}

// method is how it was paid; nil if the processor does not say. Where a processor
// writes a card network in place of the kind, such as Visa, the kind is "card".
func method[K, B ~string](ofKind K, ofBrand B) *schemas.PaymentMethod {
	kind, brand := strings.ToLower(string(ofKind)), strings.ToLower(string(ofBrand))
	switch {
	case cardBrands[kind]:
		kind, brand = "card", kind
	case kind == "" && cardBrands[brand]:
		kind = "card"
	case kind == "":
		return nil
	}
	return &schemas.PaymentMethod{Type: kind, Brand: brand}
}

// cardBrands are the names of card networks, as the processors write them in
// place of a kind of payment method.
var cardBrands = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Split("accel,american express,american_express,americanexpress,amex,bcmc,cartasi,carte_bancaire,cartebancaire,cartes bancaires,"+
		"cartes_bancaires,cb,china_union_pay,cup,dankort,diners,diners club,diners_club,dinersclub,discover,eftpos_australia,electron,elo,"+
		"hiper,hipercard,interac,jcb,maestro,mastercard,mastercard_debit,mc,mir,nyce,pulse,rupay,star,troy,uatp,union_pay,unionpay,verve,"+
		"visa,visa electron,visa_debit,visa_electron,visaelectron,vpay", ",") {
		m[name] = true
	}
	return m
}()

// failure is why something did not succeed; nil if the processor does not say.
func failure[C, M, N ~string](code C, message M, networkCode N) *schemas.Error {
	if code == "" && message == "" && networkCode == "" {
		return nil
	}
	return &schemas.Error{Code: string(code), Message: string(message), NetworkCode: string(networkCode)}
}

// methodOfVariant returns the payment method of an Adyen variant. For a card the
// variant is the network, the network with the kind of card (visastandarddebit)
// or with the wallet (visa_applepay); otherwise it is the method (ideal,
// directdebit_NL).
//
// https://docs.adyen.com/development-resources/paymentmethodvariant
func methodOfVariant[V ~string](variant V) *schemas.PaymentMethod {
	network, wallet, _ := strings.Cut(strings.ToLower(string(variant)), "_")
	for _, brand := range []string{"visa", "mc", "amex", "maestro", "cup", "diners", "discover", "jcb", "elo", "hipercard", "cartebancaire"} {
		if strings.HasPrefix(network, brand) {
			network = brand
		}
	}
	if !cardBrands[network] {
		return method(variant, "")
	}
	return method(cmp.Or(wallet, "card"), network)
}
