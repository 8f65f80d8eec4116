package verify

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// trustly calls a method by JSON-RPC, {"method", "params": {"uuid", "data",
// "signature"}}, and signs the method, the uuid and the data, which is each
// name, in order, followed by its value. It takes nothing but a result, signed
// in the same way with the merchant's own key, for an answer, and calls again
// until it gets one.
//
// The answer says OK to whatever Kafka has. Only a debit asks something: that
// of a withdrawal asks whether the payer's balance is enough, and OK lets the
// money go. So a debit is answered FAILED as long as nobody has set which
// orders the endpoint is for.
//
// Nothing stands between what is signed, so that the end of one text and the
// beginning of the next can be traded. The method and the uuid are held to
// forms that can be split in one way, and so are the fields that events are
// made of, but for the reason and the details inside attributes. SHA-1 is broken for collisions. No
// time is signed, and the notification's id, which is, tells a repetition.
//
// https://eu.developers.trustly.com/doc/reference/notifications-overview
var trustly = Connector{
	Docs:   "https://eu.developers.trustly.com/doc/reference/notifications-overview",
	Signs:  "RSA-SHA1 of the method, the uuid and the names and values of the data, base64, in params.signature",
	Covers: CoversFields,
	Weakness: "SHA-1, and nothing between what is signed: whoever has a notification can move text between the attributes' names and values; " +
		"no time is signed: only the notification's id tells a captured request that is sent again",
	Settings: []Setting{
		{Name: "public_key_pem", Description: "Trustly's public key, PEM", Required: true},
		{Name: "private_key_pem", Description: "the merchant's private key, PEM, which the answers are signed with; nothing is served without it"},
		trustlyOrders,
	},
	Keyless: true,
	Replies: true,
	check:   trustlyCheck,
	verify:  trustlyVerify,
}

var trustlyOrders = Setting{Name: "orders", Description: "deposits or payouts: the orders that have this endpoint as their NotificationURL; " +
	"when it is set, debits are answered OK, and OK lets a withdrawal go without anyone having looked at the payer's balance"}

// trustlyHashes is the hash by what a signature begins with.
var trustlyHashes = map[string]crypto.Hash{
	"alg=RS256;": crypto.SHA256,
	"alg=RS384;": crypto.SHA384,
	"alg=RS512;": crypto.SHA512,
	"":           crypto.SHA1,
}

func trustlyCheck(_ string, k Keys) error {
	if orders := k.Settings[trustlyOrders.Name]; orders != "" && orders != "deposits" && orders != "payouts" {
		return fmt.Errorf("%w: orders is %q, want deposits or payouts", ErrSetting, orders)
	}
	if _, err := rsaPublic(k.Settings["public_key_pem"]); err != nil {
		return fmt.Errorf("%w: public_key_pem: %v", ErrSetting, err)
	}
	if _, err := rsaPrivate(k.Settings["private_key_pem"]); err != nil {
		return fmt.Errorf("%w: private_key_pem, which Trustly's answers are signed with: %v", ErrSetting, err)
	}
	return nil
}

func trustlyVerify(r Request, _ string, k Keys, _ time.Time) (Verified, error) {
	var call struct {
		Method string `json:"method"`
		Params struct {
			UUID      string      `json:"uuid"`
			Data      trustlyData `json:"data"`
			Signature string      `json:"signature"`
		} `json:"params"`
	}
	if err := decodeJSON(r.Body, &call); err != nil {
		return Verified{}, err
	}
	if call.Params.Signature == "" {
		return Verified{}, fmt.Errorf("%w: no params.signature", ErrMissing)
	}
	prefix, text := trustlyAlgorithm(call.Params.Signature)
	signature, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: params.signature: %v", ErrMalformed, err)
	}
	key, err := rsaPublic(k.Settings["public_key_pem"])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: public_key_pem: %v", ErrSetting, err)
	}
	data := call.Params.Data
	hash := trustlyHashes[prefix]
	if rsa.VerifyPKCS1v15(key, hash, trustlyDigest(hash, call.Method+call.Params.UUID+data.signed), signature) != nil {
		return Verified{}, ErrMismatch
	}
	if !trustlyMethod.MatchString(call.Method) || !trustlyUUID.MatchString(call.Params.UUID) {
		return Verified{}, fmt.Errorf("%w: the method is %.40q and params.uuid %.80q, want lower-case letters and a UUID: nothing else tells where the one ends and the other begins", ErrMalformed, call.Method, call.Params.UUID)
	}
	if data.moved != "" {
		return Verified{}, fmt.Errorf("%w: params.data: %s", ErrMalformed, data.moved)
	}
	reply, err := trustlyReply(call.Method, call.Params.UUID, prefix, k)
	return Verified{Payload: r.Body, Reply: reply}, err
}

// trustlyAlgorithm takes a signature apart: what names its algorithm, if
// anything does, and the rest.
func trustlyAlgorithm(signature string) (prefix, text string) {
	for prefix := range trustlyHashes {
		if text, ok := strings.CutPrefix(signature, prefix); ok && prefix != "" {
			return prefix, text
		}
	}
	return "", signature
}

func trustlyDigest(h crypto.Hash, text string) []byte {
	d := h.New()
	d.Write([]byte(text))
	return d.Sum(nil)
}

// The method and the UUID are signed one behind the other, and the method
// decides the answer. Letters, and a UUID with its first hyphen behind eight
// digits, can be split in one way only. A method that is empty is malformed.
var (
	trustlyMethod = regexp.MustCompile(`\A[a-z]*\z`)
	trustlyUUID   = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)
)

// trustlyDeepest is how deep data may nest; Trustly's nests two levels.
const trustlyDeepest = 8

// trustlyData is data as it is signed: an object is its names, in order, each
// followed by its value; null is nothing.
type trustlyData struct {
	signed string
	fields int    // how many names and items were read, at all levels
	moved  string // why it may be other data with the same text; empty if it is not
}

// trustlyForms is the fields of data that events are made of, and how their
// values look. Nil is the merchant's, or the bank's, own text.
var trustlyForms = map[string]*regexp.Regexp{
	"accountid":      regexp.MustCompile(`\A[0-9]*\z`),
	"amount":         regexp.MustCompile(`\A-?[0-9]+(\.[0-9]*)?\z`),
	"attributes":     nil,
	"currency":       regexp.MustCompile(`\A[A-Z]{3}\z`),
	"errorcode":      nil,
	"errormessage":   nil,
	"messageid":      nil,
	"notificationid": regexp.MustCompile(`\A[0-9]+\z`),
	"orderid":        regexp.MustCompile(`\A[0-9]+\z`),
	"timestamp":      regexp.MustCompile(`\A[0-9]{4}-[0-9.: +-]*\z`),
}

// trustlyAttributes is the same for the fields inside attributes.
var trustlyAttributes = map[string]*regexp.Regexp{
	"directdebitmandate": regexp.MustCompile(`\A([01]|true|false)?\z`),
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]. Data is read once.
func (t *trustlyData) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var err error
	t.signed, err = t.read(d, 0)
	return err
}

type trustlyField struct{ name, value string }

func (t *trustlyData) read(d *jsontext.Decoder, depth int) (string, error) {
	kind := d.PeekKind()
	if kind != '{' && kind != '[' {
		var value text
		err := value.UnmarshalJSONFrom(d)
		return string(value), err
	}
	if depth == trustlyDeepest {
		return "", fmt.Errorf("params.data nests deeper than %d levels", trustlyDeepest)
	}
	if _, err := d.ReadToken(); err != nil {
		return "", err
	}
	var fields []trustlyField
	for d.PeekKind() != '}' && d.PeekKind() != ']' {
		if t.fields++; t.fields > maxFields {
			return "", fmt.Errorf("params.data has more than %d fields", maxFields)
		}
		var f trustlyField
		if kind == '{' {
			name, err := d.ReadToken()
			if err != nil {
				return "", err
			}
			f.name = name.String()
		}
		var err error
		if f.value, err = t.read(d, depth+1); err != nil {
			return "", err
		}
		fields = append(fields, f)
	}
	if _, err := d.ReadToken(); err != nil {
		return "", err
	}
	if kind == '{' {
		slices.SortFunc(fields, func(a, b trustlyField) int { return strings.Compare(a.name, b.name) })
		switch depth {
		case 0:
			t.look(fields, trustlyForms)
		case 1:
			t.look(fields, trustlyAttributes)
		}
	}
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.name)
		b.WriteString(f.value)
	}
	return b.String(), nil
}

// look notes the first field that can have been made by moving text: one whose
// value has not its form, or that has in it, or in its name and value, the name
// of another field in the place where that would stand. Fields come sorted.
func (t *trustlyData) look(fields []trustlyField, forms map[string]*regexp.Regexp) {
	names := slices.Sorted(maps.Keys(forms))
	for i, f := range fields {
		form, known := forms[f.name]
		if form != nil && !form.MatchString(f.value) {
			t.moved = fmt.Sprintf("%s is %.80q, which is not its form", f.name, f.value)
			return
		}
		if form != nil {
			continue
		}
		for _, name := range names {
			behind := name > f.name && (i+1 == len(fields) || name < fields[i+1].name)
			if behind && strings.Contains(f.value, name) || !known && strings.HasPrefix(f.name+f.value, name) {
				t.moved = fmt.Sprintf("%.80q has the name of the field %s in it, and may be made of that field", f.name, name)
				return
			}
		}
	}
}

// trustlyReply is the answer to a call, signed by the algorithm that the call
// was signed by. Without a key there is none: only `tollbridge inspect` comes
// here without.
func trustlyReply(method, uuid, prefix string, k Keys) ([]byte, error) {
	if k.Settings["private_key_pem"] == "" {
		return nil, nil
	}
	key, err := rsaPrivate(k.Settings["private_key_pem"])
	if err != nil {
		return nil, fmt.Errorf("%w: private_key_pem: %v", ErrSetting, err)
	}
	status := "OK"
	if method == "debit" && k.Settings[trustlyOrders.Name] == "" {
		status = "FAILED"
	}
	hash := trustlyHashes[prefix]
	signature, err := rsa.SignPKCS1v15(nil, key, hash, trustlyDigest(hash, method+uuid+"status"+status))
	if err != nil {
		return nil, fmt.Errorf("%w: private_key_pem: %v", ErrSetting, err)
	}
	var reply struct {
		Result struct {
			Signature string            `json:"signature"`
			UUID      string            `json:"uuid"`
			Method    string            `json:"method"`
			Data      map[string]string `json:"data"`
		} `json:"result"`
		Version string `json:"version"`
	}
	reply.Version = "1.1"
	reply.Result.UUID, reply.Result.Method = uuid, method
	reply.Result.Data = map[string]string{"status": status}
	reply.Result.Signature = prefix + base64.StdEncoding.EncodeToString(signature)
	return json.Marshal(reply)
}
