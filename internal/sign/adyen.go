package sign

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// adyen signs each item: additionalData.hmacSignature is the base64 of the
// HMAC-SHA256 of eight of its fields, joined by ":". A form is one item.
func adyen(payload []byte, secret string, settings map[string]string, address string, now time.Time) (verify.Request, error) {
	key, err := hex.DecodeString(secret)
	if err != nil {
		return verify.Request{}, err
	}
	if strings.Contains(string(payload), "pspReference=") {
		return inForm("additionalData.hmacSignature", adyenForm)(payload, string(key), settings, address, now)
	}
	var n struct {
		Live  json.RawMessage `json:"live,omitempty"`
		Items []struct {
			Item map[string]json.RawMessage `json:"NotificationRequestItem"`
		} `json:"notificationItems"`
	}
	if err := json.Unmarshal(payload, &n); err != nil {
		return verify.Request{}, err
	}
	for _, i := range n.Items {
		if err := adyenItem(i.Item, string(key)); err != nil {
			return verify.Request{}, err
		}
	}
	body, err := json.Marshal(n)
	return request(body, "application/json"), err
}

// adyenForm returns the signature of an item that is a form.
func adyenForm(f url.Values, key string) string {
	var fields []string
	for _, name := range []string{"pspReference", "originalReference", "merchantAccountCode", "merchantReference", "value", "currency", "eventCode", "success"} {
		fields = append(fields, f.Get(name))
	}
	return base64.StdEncoding.EncodeToString(mac(sha256.New, key, strings.Join(fields, ":")))
}

// adyenItem adds the signature to an item's additionalData.
func adyenItem(item map[string]json.RawMessage, key string) error {
	if item == nil {
		return errNoObject
	}
	var amount, more map[string]json.RawMessage
	for name, v := range map[string]*map[string]json.RawMessage{"amount": &amount, "additionalData": &more} {
		if raw, ok := item[name]; ok {
			if err := json.Unmarshal(raw, v); err != nil {
				return err
			}
		}
	}
	var fields []string
	for _, raw := range []json.RawMessage{
		item["pspReference"], item["originalReference"], item["merchantAccountCode"], item["merchantReference"],
		amount["value"], amount["currency"], item["eventCode"], item["success"],
	} {
		field := string(raw) // a number or a boolean is signed as written, null as empty text
		if field == "null" || strings.HasPrefix(field, `"`) {
			field = ""
			if err := json.Unmarshal(raw, &field); err != nil {
				return err
			}
		}
		fields = append(fields, field)
	}
	if more == nil {
		more = map[string]json.RawMessage{}
	}
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, key, strings.Join(fields, ":")))
	more["hmacSignature"] = json.RawMessage(`"` + signature + `"`)
	raw, err := json.Marshal(more)
	item["additionalData"] = raw
	return err
}

// adyenPlatform sends the base64 of the HMAC-SHA256 of the payload.
func adyenPlatform(payload []byte, secret string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	key, err := hex.DecodeString(secret)
	signature := base64.StdEncoding.EncodeToString(mac(sha256.New, string(key), string(payload)))
	return request(payload, "application/json", "HmacSignature", signature), err
}
