package sign

import (
	"crypto/sha512"
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/verify"
)

// midtrans adds signature_key to the payload: the hex SHA-512 of three of the
// payload's fields and the server key.
func midtrans(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	var fields map[string]jsontext.Value
	if err := json.Unmarshal(payload, &fields); err != nil {
		return request(payload, "application/json"), err
	}
	var signed string
	names := []string{"order_id", "status_code", "gross_amount"}
	if fields["order_id"] == nil && fields["account_id"] != nil { // a pay account
		names = []string{"account_id", "account_status", "status_code"}
	}
	for _, name := range names {
		var text string
		if err := json.Unmarshal(fields[name], &text); err != nil {
			return request(payload, "application/json"), err
		}
		signed += text
	}
	digest := sha512.Sum512([]byte(signed + secret))
	fields["signature_key"] = jsontext.Value(`"` + hex.EncodeToString(digest[:]) + `"`)
	body, err := json.Marshal(fields, json.Deterministic(true))
	return request(body, "application/json"), err
}
