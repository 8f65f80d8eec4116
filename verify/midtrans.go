package verify

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"time"
)

// midtrans puts signature_key into the JSON body: the hex SHA-512 of order_id,
// status_code, gross_amount and the server key, one after the other, as they
// are written. Nothing else is signed, not even transaction_status: the
// status_code alone says whether it went well.
//
// https://docs.midtrans.com/docs/https-notification-webhooks
var midtrans = Connector{
	Docs:     "https://docs.midtrans.com/docs/https-notification-webhooks",
	Signs:    "SHA-512 of order_id, status_code, gross_amount and the server key, hex, in the body's signature_key",
	Covers:   CoversFields,
	Weakness: "transaction_status, refund amounts and ids are not signed; no timestamp: a captured request can be sent again, and changed so",
	Verify:   midtransVerify,
}

func midtransVerify(r Request, secret string, _ Keys, _ time.Time) (Verified, error) {
	var b struct {
		OrderID      text `json:"order_id"`
		StatusCode   text `json:"status_code"`
		GrossAmount  text `json:"gross_amount"`
		SignatureKey text `json:"signature_key"`
	}
	if err := decodeJSON(r.Body, &b); err != nil {
		return Verified{}, err
	}
	if b.SignatureKey == "" {
		return Verified{}, fmt.Errorf("%w: no signature_key in the body", ErrMissing)
	}
	if b.OrderID == "" || len(b.StatusCode) != 3 || b.GrossAmount == "" { // lengths keep the fields apart
		return Verified{}, fmt.Errorf("%w: want order_id, a status_code of three digits, and gross_amount", ErrMalformed)
	}
	signature, err := hex.DecodeString(string(b.SignatureKey))
	if err != nil {
		return Verified{}, fmt.Errorf("%w: signature_key: %v", ErrMalformed, err)
	}
	want := sha512.Sum512([]byte(string(b.OrderID+b.StatusCode+b.GrossAmount) + secret))
	if !hmac.Equal(signature, want[:]) {
		return Verified{}, ErrMismatch
	}
	return Verified{Payload: r.Body}, nil
}
