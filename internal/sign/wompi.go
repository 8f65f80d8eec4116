package sign

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/verify"
)

// wompi: signature, with the hex of SHA-256 over the values of some properties,
// the timestamp and the secret, stands in the payload itself.
func wompi(payload []byte, secret string, _ map[string]string, _ string, now time.Time) (verify.Request, error) {
	var fields map[string]jsontext.Value
	var event struct {
		Data map[string]map[string]jsontext.Value `json:"data"`
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
	properties, signed := []string{}, ""
	for thing, of := range event.Data {
		for _, name := range []string{"id", "status", "amount_in_cents", "amountInCents"} {
			if value := of[name]; value != nil {
				text, err := jsontext.AppendUnquote(nil, value)
				if err != nil {
					text = value // a number
				}
				properties, signed = append(properties, thing+"."+name), signed+string(text)
			}
		}
	}
	t := strconv.FormatInt(now.Unix(), 10)
	names, err := json.Marshal(properties)
	if err != nil {
		return request(payload, "application/json"), err
	}
	fields["timestamp"] = jsontext.Value(t)
	fields["signature"] = fmt.Appendf(nil, `{"properties":%s,"checksum":"%x"}`, names, sha256.Sum256([]byte(signed+t+secret)))
	body, err := json.Marshal(fields, json.Deterministic(true))
	return request(body, "application/json"), err
}
