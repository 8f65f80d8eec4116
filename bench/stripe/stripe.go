// Package stripe verifies Stripe's signature for the contestants that are written by
// hand, as Stripe documents it: https://docs.stripe.com/webhooks#verify-manually
package stripe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Header is the name of the signature header, with a value of the form t=<unix
// seconds>,v1=<hex>.
const Header = "Stripe-Signature"

// tolerance is the maximum age of a signature.
const tolerance = 5 * time.Minute

// Verify returns nil if body was signed with secret, and recently enough at the time
// now.
func Verify(header string, body []byte, secret string, now time.Time) error {
	var at string
	var given [][]byte
	for field := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "t":
			at = value
		case "v1":
			if v, err := hex.DecodeString(value); err == nil {
				given = append(given, v)
			}
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return fmt.Errorf("%s: no timestamp: %w", Header, err)
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return fmt.Errorf("%s: signed at %s, more than %s from now", Header, at, tolerance)
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(at + "."))
	m.Write(body)
	want := m.Sum(nil)
	for _, v := range given {
		if hmac.Equal(v, want) {
			return nil
		}
	}
	return errors.New("no signature matches")
}
