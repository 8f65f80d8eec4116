package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wompi hashes the values of some fields of data, one after the other, the
// event's timestamp and the events' secret. Which fields, the event says in
// signature.properties, and signature.checksum is the hash, hex of SHA-256 in
// either case. The timestamp is unix seconds, or milliseconds in events about
// payouts. The last retry comes a day after the event; whether it carries a new
// timestamp is not said, so that the window is two days.
//
// The list of fields is itself not signed, nor are names, nor where one value
// ends and the next begins. So of events that become events of ours the fields
// must have their forms, and the list must be the documented one, the id, the
// status and the amount: in another list, what is signed must not be text that
// the documented one has, too. The merchant's reference, the currency and the
// rest are not signed.
//
// https://docs.wompi.co/en/docs/colombia/eventos/
// https://docs.wompi.co/en/docs/colombia/eventos-pagos-a-terceros/
var wompi = Connector{
	Docs:     "https://docs.wompi.co/en/docs/colombia/eventos/",
	Signs:    "SHA-256 of the values that signature.properties names, the timestamp and the secret, hex, in signature.checksum",
	Covers:   CoversFields,
	Weakness: "a plain hash; only the values of id, status and amount are signed: within two days, who captured a request can send it again for another reference",
	Settings: []Setting{tolerance},
	Verify:   wompiVerify,
}

const wompiTolerance = 48 * time.Hour

type wompiEvent struct {
	Event     string         `json:"event"`
	Data      jsontext.Value `json:"data"`
	Timestamp text           `json:"timestamp"`
	Signature struct {
		Properties []string `json:"properties"`
		Checksum   text     `json:"checksum"`
	} `json:"signature"`
}

func wompiVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	var e wompiEvent
	if err := decodeJSON(r.Body, &e); err != nil {
		return Verified{}, err
	}
	if e.Signature.Checksum == "" {
		return Verified{}, fmt.Errorf("%w: no signature.checksum in the body", ErrMissing)
	}
	checksum, err := hex.DecodeString(string(e.Signature.Checksum))
	if err != nil {
		return Verified{}, fmt.Errorf("%w: signature.checksum: %v", ErrMalformed, err)
	}
	sent, err := strconv.ParseInt(string(e.Timestamp), 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: timestamp is %q, want unix seconds or milliseconds", ErrMalformed, e.Timestamp)
	}
	values, err := e.values()
	if err != nil {
		return Verified{}, err
	}
	signed := strings.Join(values, "") + string(e.Timestamp)
	if !hmac.Equal(checksum, digest(sha256.New, signed+secret)) {
		return Verified{}, ErrMismatch
	}
	if err := e.certain(values, signed); err != nil {
		return Verified{}, err
	}
	if err := k.within(unixOrMilli(sent), now, wompiTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// The limits of signature.properties: documented are three, of two names each.
const (
	wompiProperties = 16
	wompiNames      = 4
)

// wompiFields is what Wompi signs of the thing that an event is about, as far
// as the thing has it, in this order.
var wompiFields = []string{"id", "status", "amount_in_cents", "amountInCents"}

// values returns what stands at the paths of signature.properties, such as
// transaction.id. Each object on the way is read once, whatever the paths are.
// What decides must be among them.
func (e wompiEvent) values() ([]string, error) {
	if n := len(e.Signature.Properties); n > wompiProperties {
		return nil, fmt.Errorf("%w: signature.properties has %d paths, want at most %d", ErrMalformed, n, wompiProperties)
	}
	objects := map[string]map[string]jsontext.Value{} // by their paths
	var at func(path []string) jsontext.Value
	at = func(path []string) jsontext.Value {
		if len(path) == 0 {
			return e.Data
		}
		parent, last := path[:len(path)-1], path[len(path)-1]
		name := fmt.Sprintf("%q", parent) // unlike a path, it tells no name from an empty one
		object, read := objects[name]
		if !read {
			_ = json.Unmarshal(at(parent), &object) // what is no object has no fields
			objects[name] = object
		}
		return object[last]
	}
	for _, field := range wompiFields {
		path := e.thing() + "." + field
		if at([]string{e.thing(), field}) != nil && !slices.Contains(e.Signature.Properties, path) {
			return nil, fmt.Errorf("%w: signature.properties: want %q among them", ErrMalformed, path)
		}
	}
	var values []string
	for _, path := range e.Signature.Properties {
		names := strings.SplitN(path, ".", wompiNames+1)
		value := jsontext.Value(nil)
		if len(names) <= wompiNames {
			value = at(names)
		}
		if value == nil {
			return nil, fmt.Errorf("%w: signature.properties: %.80q is not in data", ErrMalformed, path)
		}
		var t text
		if err := decodeJSON(value, &t); err != nil {
			return nil, err
		}
		values = append(values, string(t))
	}
	return values, nil
}

// thing is what the event is named after and is about: transaction.
func (e wompiEvent) thing() string {
	thing, _, _ := strings.Cut(e.Event, ".")
	return thing
}

var (
	// wompiForms is how the signed fields look, by the event and the field of an
	// amount: a payment's id is of three numbers, a payout's a UUID, that of a
	// stored payment method any word that does not end in a capital letter.
	wompiForms = map[string]*regexp.Regexp{
		"transaction.updated":                 regexp.MustCompile(`\A\z`), // without an amount: never
		"transaction.updated amount_in_cents": regexp.MustCompile(`\A[0-9]+-[0-9]+-[0-9]+\n[A-Z_]+\n(0|[1-9][0-9]*)\n[1-9]([0-9]{9}|[0-9]{12})\z`),
		"transaction.updated amountInCents":   regexp.MustCompile(`\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n[A-Z_]+\n(0|[1-9][0-9]*)\n[1-9]([0-9]{9}|[0-9]{12})\z`),
		"nequi_token.updated":                 regexp.MustCompile(`\A[0-9A-Za-z_-]*[0-9a-z]\n[A-Z_]+\n[1-9]([0-9]{9}|[0-9]{12})\z`),
		"bancolombia_transfer_token.updated":  regexp.MustCompile(`\A[0-9A-Za-z_-]*[0-9a-z]\n[A-Z_]+\n[1-9]([0-9]{9}|[0-9]{12})\z`),
	}
	// wompiSigned is the text that is signed of any of them.
	wompiSigned = regexp.MustCompile(`\A[0-9A-Za-z_-]+(APPROVED|DECLINED|VOIDED|ERROR|PENDING|PROCESSING|FAILED|CANCELLED)[0-9]{10,}\z`)
)

// certain refuses an event whose signature is right and is also that of another
// event, of which this one was made by moving text from field to field.
func (e wompiEvent) certain(values []string, signed string) error {
	form := wompiForms[e.Event]
	want := []string{e.thing() + ".id", e.thing() + ".status"}
	for _, amount := range wompiFields[2:] {
		if path := e.thing() + "." + amount; slices.Contains(e.Signature.Properties, path) {
			form, want = wompiForms[e.Event+" "+amount], append(want, path)
		}
	}
	if form == nil { // nothing becomes of it
		return nil
	}
	fields := strings.Join(append(values, string(e.Timestamp)), "\n")
	if slices.Equal(e.Signature.Properties, want) && form.MatchString(fields) || !wompiSigned.MatchString(signed) {
		return nil
	}
	return fmt.Errorf("%w: an event %.40q of %.200q is not what Wompi signs, and the same signature is that of another event", ErrMalformed, e.Event, e.Signature.Properties)
}
