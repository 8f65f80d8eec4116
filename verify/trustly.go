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

// trustly calls a method by JSON-RPC, {"method", "params": {"uuid", "data", "signature"}}. It
// signs the method, the uuid and the data: each name, in sorted order, followed by its value.
// It accepts only a JSON-RPC result as the response, which must be signed in the same way
// with the merchant's own key, and repeats the call until it gets one.
//
// The response is OK once the webhook is in Kafka. Only for a debit does the status decide
// something: the debit of a withdrawal asks whether the payer's balance is sufficient, and
// OK releases the money. So the response to a debit is FAILED unless the setting orders is
// set.
//
// The signed text has no separators, so an attacker can move text from the end of one field
// to the beginning of the next. The method, the uuid and the fields from which events are made
// must have formats that allow only one split, except the reason and the details inside
// attributes. Collisions of SHA-1 can be found. No timestamp is signed. The signed id of the
// notification identifies a repeated call.
//
// https://eu.developers.trustly.com/doc/reference/notifications-overview
var trustly = Connector{
	Docs:   "https://eu.developers.trustly.com/doc/reference/notifications-overview",
	Signs:  "RSA-SHA1 of the method, the uuid and the names and values of the data, base64, in params.signature",
	Covers: CoversFields,
	Weakness: "SHA-1, and no separators in the signed text: anyone who captured a notification can move text between the attributes' names and values; " +
		"no time is signed: only the notification's id shows that a captured request was sent again",
	Settings: []Setting{
		{Name: "public_key_pem", Description: "Trustly's public key, PEM", Required: true},
		{Name: "private_key_pem", Description: "the merchant's private key, PEM, which signs the responses; no endpoint can be configured without it"},
		trustlyOrders,
	},
	Keyless: true,
	Replies: true,
	check:   trustlyCheck,
	verify:  trustlyVerify,
}

var trustlyOrders = Setting{Name: "orders", Description: "deposits or payouts: the orders that have this endpoint as their NotificationURL; " +
	"when it is set, debits are answered OK, and OK lets a withdrawal go without anyone having looked at the payer's balance"}

// trustlyHashes has the hash for each prefix of a signature.
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
		return fmt.Errorf("%w: private_key_pem, which signs the responses to Trustly: %v", ErrSetting, err)
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
		return Verified{}, fmt.Errorf("%w: the method is %.40q and params.uuid %.80q, want lower-case letters and a UUID, so that the signed text has only one split", ErrMalformed, call.Method, call.Params.UUID)
	}
	if data.moved != "" {
		return Verified{}, fmt.Errorf("%w: params.data: %s", ErrMalformed, data.moved)
	}
	reply, err := trustlyReply(call.Method, call.Params.UUID, prefix, k)
	return Verified{Payload: r.Body, Reply: reply}, err
}

// trustlyAlgorithm splits a signature into the prefix that names the algorithm, which may be
// empty, and the base64 text.
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

// The signed text begins with the method and the UUID, without a separator, and the method
// decides the response. Small letters followed by a UUID, whose first hyphen comes after
// eight digits, have only one split. Normalising reports an empty method as malformed.
var (
	trustlyMethod = regexp.MustCompile(`\A[a-z]*\z`)
	trustlyUUID   = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)
)

// trustlyMaxDepth is how deep data may nest. Trustly's data nests two levels.
const trustlyMaxDepth = 8

// trustlyData is the signed text of data: of an object each name, in sorted order, followed by
// its value. Null is empty text.
type trustlyData struct {
	signed string
	fields int    // the number of names and items read so far, at all levels
	moved  string // how text may have been moved between fields; empty if it was not
}

// trustlyForms has the fields of data from which events are made, and the formats of their
// values. Nil means any text: the merchant or the bank chooses it.
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

// trustlyAttributes is like trustlyForms for the fields inside attributes.
var trustlyAttributes = map[string]*regexp.Regexp{
	"directdebitmandate": regexp.MustCompile(`\A([01]|true|false)?\z`),
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
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
	if depth == trustlyMaxDepth {
		return "", fmt.Errorf("params.data nests deeper than %d levels", trustlyMaxDepth)
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
			t.checkMoved(fields, trustlyForms)
		case 1:
			t.checkMoved(fields, trustlyAttributes)
		}
	}
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.name)
		b.WriteString(f.value)
	}
	return b.String(), nil
}

// checkMoved sets moved if a field may have been made by moving text: if its value does
// not have the field's format, or if the value, or the name and value together, contain the
// name of another field at a position where that field could be. The fields must be sorted.
func (t *trustlyData) checkMoved(fields []trustlyField, forms map[string]*regexp.Regexp) {
	names := slices.Sorted(maps.Keys(forms))
	for i, f := range fields {
		form, known := forms[f.name]
		if form != nil && !form.MatchString(f.value) {
			t.moved = fmt.Sprintf("%s is %.80q, which is not its format", f.name, f.value)
			return
		}
		if form != nil {
			continue
		}
		for _, name := range names {
			couldFollow := name > f.name && (i+1 == len(fields) || name < fields[i+1].name)
			if couldFollow && strings.Contains(f.value, name) || !known && strings.HasPrefix(f.name+f.value, name) {
				t.moved = fmt.Sprintf("%.80q contains the name of the field %s: its text may have been moved from that field", f.name, name)
				return
			}
		}
	}
}

// trustlyReply returns the response to a call, signed by the same algorithm as the call. It
// returns nil without a private key, which only `tollbridge inspect` allows.
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
