package sign

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/verify"
)

// wompi signs the fields that Wompi lists first: it puts their paths and the hex
// SHA-256 of their values, the timestamp and the secret into the payload. Timestamps
// are in Unix seconds, those of payouts in milliseconds.
func wompi(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	var fields map[string]jsontext.Value
	var event struct {
		Event string                               `json:"event"`
		Data  map[string]map[string]jsontext.Value `json:"data"`
	}
	if err := json.Unmarshal(payload, &fields); err != nil {
		return request(payload, "application/json"), err
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return request(payload, "application/json"), err
	}
	if fields == nil {
		return request(payload, "application/json"), errNoObject
	}
	object, _, _ := strings.Cut(event.Event, ".")
	properties, signed, timestamp := []string{}, "", now.Unix()
	for _, name := range []string{"id", "status", "amount_in_cents", "amountInCents"} {
		value := event.Data[object][name]
		if value == nil {
			continue
		}
		if name == "amountInCents" {
			timestamp = now.UnixMilli()
		}
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			text = value // a number
		}
		properties, signed = append(properties, object+"."+name), signed+string(text)
	}
	t := strconv.FormatInt(timestamp, 10)
	names, err := json.Marshal(properties)
	if err != nil {
		return request(payload, "application/json"), err
	}
	fields["timestamp"] = jsontext.Value(t)
	fields["signature"] = fmt.Appendf(nil, `{"properties":%s,"checksum":"%x"}`, names, sha256.Sum256([]byte(signed+t+secret)))
	body, err := json.Marshal(fields, json.Deterministic(true))
	return request(body, "application/json"), err
}
