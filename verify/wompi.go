package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wompi hashes the values of some fields of data without separators, followed by the event's
// timestamp and the secret for events. signature.properties lists the fields, as paths such
// as transaction.id, and signature.checksum has the SHA-256 in hex, in either case. The
// timestamp is in Unix seconds, or in milliseconds in events about payouts. The last
// redelivery comes a day after the event. Wompi does not document whether it has a new
// timestamp, so the tolerance is two days.
//
// The list and the names are not signed, and the values have no separators. Wompi documents
// the id, the status and the amount (of a stored payment method: the id and the status),
// and warns that the list can change with time and with the event. So further fields are accepted
// after the documented ones, if their values cannot be a part of the amount, that is, if they
// do not begin with a digit. With another list, an attacker who captured a webhook could
// choose another id or amount: it is refused if the webhook becomes an event of ours. The
// further fields are not protected: a sender can list them under another name.
//
// https://docs.wompi.co/en/docs/colombia/eventos/
// https://docs.wompi.co/en/docs/colombia/eventos-pagos-a-terceros/
var wompi = Connector{
	Docs:     "https://docs.wompi.co/en/docs/colombia/eventos/",
	Signs:    "SHA-256 of the values that signature.properties names, the timestamp and the secret, hex, in signature.checksum",
	Covers:   CoversFields,
	Weakness: "a plain hash; only the values of id, status and amount are signed: within two days, anyone who captured a request can send it again for another reference",
	Settings: []Setting{tolerance},
	verify:   wompiVerify,
	joined:   []joinedScheme{wompiJoined},
}

const wompiTolerance = 48 * time.Hour

func wompiVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
	f, signature, err := wompiRead(r)
	if err != nil {
		return Verified{}, err
	}
	sent, err := strconv.ParseInt(f[wompiTimestamp], 10, 64)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: timestamp is %s, want Unix seconds or milliseconds", ErrMalformed, quoted(f[wompiTimestamp]))
	}
	v, err := wompiJoined.verifyFields(r, f, signature, secret, k)
	if err != nil {
		return Verified{}, err
	}
	if err := k.within(unixOrMilli(sent), now, wompiTolerance); err != nil {
		return Verified{}, err
	}
	return v, nil
}

var wompiJoined = joinedScheme{read: wompiRead, messages: wompiMessages}

// Fields of a webhook are named by their JSON Pointers.
const (
	wompiEvent     = "/event"
	wompiTimestamp = "/timestamp"
	wompiListed    = "/signature/properties" // the pointers of the listed fields, separated by commas
)

// wompiPath matches the path of a field of data in signature.properties.
var wompiPath = regexp.MustCompile(`\A[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+){0,3}\z`)

// wompiMaxListed is how many fields signature.properties may list. Three are
// documented.
const wompiMaxListed = 16

// wompiRead returns the signature of a webhook and its fields: those that are listed as signed,
// and those that determine the kind of the event.
func wompiRead(r Request) (form, []byte, error) {
	var body struct {
		Event     text           `json:"event"`
		Data      jsontext.Value `json:"data"`
		Timestamp text           `json:"timestamp"`
		Signature struct {
			Properties []string `json:"properties"`
			Checksum   text     `json:"checksum"`
		} `json:"signature"`
	}
	if err := decodeJSON(r.Body, &body); err != nil {
		return nil, nil, err
	}
	signature, err := form{"signature.checksum": string(body.Signature.Checksum)}.signature("signature.checksum", hex.DecodeString)
	if err != nil {
		return nil, nil, err
	}
	paths := body.Signature.Properties
	if n := len(paths); n > wompiMaxListed {
		return nil, nil, fmt.Errorf("%w: signature.properties has %d paths, want at most %d", ErrMalformed, n, wompiMaxListed)
	}
	f := form{wompiEvent: string(body.Event), wompiTimestamp: string(body.Timestamp)}
	data := wompiObjectOf(body.Data)
	var listed []string
	for _, path := range paths {
		if !wompiPath.MatchString(path) {
			return nil, nil, fmt.Errorf("%w: signature.properties: %s is not a path such as transaction.id", ErrMalformed, quoted(path))
		}
		value, ok := data.text(strings.Split(path, ".")...)
		if !ok {
			return nil, nil, fmt.Errorf("%w: signature.properties: %s is not in data", ErrMalformed, quoted(path))
		}
		pointer := "/data/" + strings.ReplaceAll(path, ".", "/")
		f[pointer], listed = value, append(listed, pointer)
	}
	f[wompiListed] = strings.Join(listed, ",")
	object := wompiObjectName(f[wompiEvent])
	for _, name := range []string{"id", "status", "amountInCents"} {
		f["/data/"+object+"/"+name], _ = data.text(object, name)
	}
	return f, signature, nil
}

// wompiObjectName returns the name of the object in data that an event is about. The
// event's name begins with it: transaction.updated.
func wompiObjectName(event string) string {
	name, _, _ := strings.Cut(event, ".")
	return name
}

// wompiObject is a JSON object that is decoded on demand: each object in it at most once,
// however many fields are read.
type wompiObject struct {
	fields  map[string]jsontext.Value
	objects map[string]*wompiObject
}

func wompiObjectOf(value jsontext.Value) *wompiObject {
	o := &wompiObject{objects: map[string]*wompiObject{}}
	_ = json.Unmarshal(value, &o.fields) // a value that is not an object has no fields
	return o
}

// text returns the text of a field, and whether the object has the field. The path has the
// names of the enclosing objects and of the field.
func (o *wompiObject) text(path ...string) (string, bool) {
	name := path[0]
	value, ok := o.fields[name]
	switch {
	case !ok:
		return "", false
	case len(path) == 1:
		var t text
		_ = json.Unmarshal(value, &t) // it cannot fail: the body was well-formed
		return string(t), true
	case o.objects[name] == nil:
		o.objects[name] = wompiObjectOf(value)
	}
	return o.objects[name].text(path[1:]...)
}

// wompiKind describes what Wompi signs in one kind of event.
type wompiKind struct {
	fields    []part // the fields that are listed first; the second is the status
	further   format // of the joined text of all further fields
	timestamp part
}

// wompiKindOf returns the kind of an event. It returns false for an event that becomes no
// event of ours: without an id, or with a name or a status that is not listed here.
func wompiKindOf(f form) (k wompiKind, ok bool) {
	event := f[wompiEvent]
	object := "/data/" + wompiObjectName(event)
	status := func(of ...string) part { return field(object+"/status", oneOf(of...)) }
	// Some of these statuses are only for payments, and some only for payouts.
	transactionStatus := status("PENDING", "PROCESSING", "APPROVED", "DECLINED", "ERROR", "VOIDED", "FAILED", "CANCELLED")
	seconds := field(wompiTimestamp, digitPattern("10 digits: Unix seconds", 10, `[1-9][0-9]{9}`))
	amount := digitPattern("a whole number without leading zeros", 18, `0|[1-9][0-9]*`)
	afterAmount := format{ // a digit could belong to the amount
		max: math.MaxInt, char: anyText.char,
		valid: func(s string) bool { return !isDigit(s[0]) },
	}
	switch {
	case event == "transaction.updated" && f[object+"/amountInCents"] == "": // a payment
		k = wompiKind{[]part{
			field(object+"/id", pattern("three numbers joined by -", 80, `[0-9]+-[0-9]+-[0-9]+`)),
			transactionStatus,
			field(object+"/amount_in_cents", amount),
		}, afterAmount, seconds}
	case event == "transaction.updated": // a payout
		k = wompiKind{[]part{
			field(object+"/id", pattern("a UUID in small letters", 36, `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)),
			transactionStatus,
			field(object+"/amountInCents", amount),
		}, afterAmount, field(wompiTimestamp, digitPattern("13 digits: Unix milliseconds", 13, `[1-9][0-9]{12}`))}
	case event == "nequi_token.updated", event == "bancolombia_transfer_token.updated":
		k = wompiKind{[]part{ // the id does not begin like that of a payment or a payout
			field(object+"/id", pattern("letters, digits, - and _, such as nequi_prod_RQkUiuv3", 120, `[a-z]+_[0-9A-Za-z_-]+`)),
			status("APPROVED", "DECLINED"),
		}, anyText, seconds}
	default:
		return k, false
	}
	return k, f[object+"/id"] != "" && k.fields[1].format.matches(f[object+"/status"])
}

// wompiMessages returns the message that a webhook is signed as: the listed fields in their
// order, the timestamp and the secret.
func wompiMessages(_ Request, f form, _ Keys) ([]message, error) {
	listed := strings.FieldsFunc(f[wompiListed], func(r rune) bool { return r == ',' })
	m := message{hash: sha256.New}
	end := func(timestamp part) []message {
		m.parts = append(m.parts, timestamp, keyPart)
		return []message{m}
	}
	kind, ok := wompiKindOf(f)
	if !ok { // it becomes no event, so any list is accepted
		m.parts = unusedFields(listed...)
		return end(unusedField(wompiTimestamp, anyText)), nil
	}
	var want []string
	for _, p := range kind.fields {
		want = append(want, p.name)
	}
	if len(listed) < len(want) || !slices.Equal(listed[:len(want)], want) {
		m.parts = unusedFields(listed...)
		m.extraCheck = func(form, Keys) error {
			return fmt.Errorf("%w: signature.properties begins with %.200q, want %q: with another list, text of one field can be moved to another", ErrAmbiguous, listed[:min(len(listed), len(want))], want)
		}
		return end(unusedField(wompiTimestamp, anyText)), nil
	}
	m.parts = kind.fields
	for _, name := range listed[len(want):] {
		if f[name] == "" {
			continue
		}
		further := unusedField(name, anyText)
		further.splitFormat = kind.further
		if len(m.parts) > len(kind.fields) {
			further.splitFormat = format{} // the format of the first one covers all
		}
		m.parts = append(slices.Clip(m.parts), further)
	}
	return end(kind.timestamp), nil
}
