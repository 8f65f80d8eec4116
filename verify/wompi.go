package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
// The list of fields is itself not signed. Documented are the id, the status
// and the amount, and an event that does not sign those of them that it has
// is refused. The merchant's reference, the currency and
// the rest are not signed, and nothing stands between the values.
//
// https://docs.wompi.co/en/docs/colombia/eventos/
// https://docs.wompi.co/en/docs/colombia/eventos-pagos-a-terceros/
var wompi = Connector{
	Docs:     "https://docs.wompi.co/en/docs/colombia/eventos/",
	Signs:    "SHA-256 of the values that signature.properties names, the timestamp and the secret, hex, in signature.checksum",
	Covers:   CoversFields,
	Weakness: "a plain hash; only id, status and amount are signed: within two days, who captured a request can send it again for another reference",
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
	signed, err := e.signed()
	if err != nil {
		return Verified{}, err
	}
	if !hmac.Equal(checksum, digest(sha256.New, signed+string(e.Timestamp)+secret)) {
		return Verified{}, ErrMismatch
	}
	if err := k.within(unixOrMilli(sent), now, wompiTolerance); err != nil {
		return Verified{}, err
	}
	return Verified{Payload: r.Body}, nil
}

// signed is the values of the properties, one after the other. What decides
// must be among them: the fields of the thing that the event is named after.
func (e wompiEvent) signed() (string, error) {
	thing, _, _ := strings.Cut(e.Event, ".")
	for _, field := range []string{"id", "status", "amount_in_cents", "amountInCents"} {
		path := thing + "." + field
		if _, err := wompiValue(e.Data, path); err == nil && !slices.Contains(e.Signature.Properties, path) {
			return "", fmt.Errorf("%w: signature.properties: want %s among them", ErrMalformed, path)
		}
	}
	var signed strings.Builder
	for _, path := range e.Signature.Properties {
		value, err := wompiValue(e.Data, path)
		if err != nil {
			return "", err
		}
		signed.WriteString(value)
	}
	return signed.String(), nil
}

// wompiValue is the text of what stands at a path, such as transaction.id.
func wompiValue(in jsontext.Value, path string) (string, error) {
	for name := range strings.SplitSeq(path, ".") {
		var fields map[string]jsontext.Value
		if err := json.Unmarshal(in, &fields); err != nil || fields[name] == nil {
			return "", fmt.Errorf("%w: signature.properties: %q is not in data", ErrMalformed, path)
		}
		in = fields[name]
	}
	var t text
	err := decodeJSON(in, &t)
	return string(t), err
}
